"""Alerts: what administrators are told, and where."""

from __future__ import annotations

import click

from app.cli.alert_channels import enable_channel, list_channels, test_channels


@click.group()
def alerts() -> None:
    """Alerts: channels, and what goes through them."""


for command in (list_channels, enable_channel, test_channels):
    alerts.add_command(command)
