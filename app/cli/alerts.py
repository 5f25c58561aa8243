"""Alerts: what administrators are told, and where."""

from __future__ import annotations

import click

from app.cli.alert_channels import enable_channel, list_channels, test_channels
from app.cli.alert_states import acknowledge_alert, list_alerts, list_rules


@click.group()
def alerts() -> None:
    """Alerts: those that last, their rules, and the channels that they go through."""


for command in (list_alerts, acknowledge_alert, list_rules):
    alerts.add_command(command)
for command in (list_channels, enable_channel, test_channels):
    alerts.add_command(command)
