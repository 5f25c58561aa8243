"""What is wrong with a channel's configuration is said at start, and names the variable."""

from __future__ import annotations

import pytest

from app.config.errors import ConfigurationError
from app.config.settings import AlertSettings, load_settings
from app.services.alerts.configured import configured_channels
from app.services.alerts.email import MailServer
from tests.alerts.samples import PORTUGUESE
from tests.fakes.clock import FakeClock

SLACK = "https://hooks.slack.com/services/T0/B0/secret"
MAIL = {"ALERT_EMAIL": "a@empresa.test, b@empresa.test", "SMTP_URL": "smtp://mail.empresa.test"}


def alerts(**variables: str) -> AlertSettings:
    return load_settings({"ENVIRONMENT": "development"} | variables).alerts


def problems(**variables: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        alerts(**variables)
    return [f"{it.subject} {it.code}" for it in caught.value.problems]


def names(settings: AlertSettings, key: str = "key") -> dict[str, str]:
    """Return each channel's fingerprint by its name."""
    channels = configured_channels(settings, PORTUGUESE, FakeClock(), key)
    return {it.target.name: it.target.fingerprint for it in channels}


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "ia.localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "10.1.2.3",
        "192.168.0.1",
        "169.254.169.254",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[fd00::1]",
        "0.0.0.0",
    ],
)
@pytest.mark.parametrize("variable", ["SLACK_WEBHOOK_URL", "ALERT_WEBHOOK_URL", "SMTP_URL"])
def test_address_inside_that_is_written_out_is_refused(variable: str, host: str) -> None:
    scheme = "smtp" if variable == "SMTP_URL" else "https"

    found = problems(**{variable: f"{scheme}://{host}/x", "ALERT_WEBHOOK_SECRET": "s" * 20})

    assert found == [f"{variable} private_address"]


def test_one_address_inside_among_others_is_refused() -> None:
    assert problems(SLACK_WEBHOOK_URL=f"{SLACK},https://10.0.0.1/") == [
        "SLACK_WEBHOOK_URL private_address"
    ]


def test_address_inside_is_taken_where_that_is_allowed() -> None:
    settings = alerts(SLACK_WEBHOOK_URL="http://10.0.0.1/x", ALERT_ALLOW_PRIVATE="true")

    assert settings.slack_urls == ("http://10.0.0.1/x",)


def test_metadata_address_is_refused_although_private_ones_are_allowed() -> None:
    url = "http://169.254.169.254/latest"

    found = problems(SLACK_WEBHOOK_URL=url, ALERT_ALLOW_PRIVATE="true")

    assert found == ["SLACK_WEBHOOK_URL private_address"]


@pytest.mark.parametrize(
    ("variable", "value", "code"),
    [
        ("SLACK_WEBHOOK_URL", "http://hooks.slack.com/x", "not_a_url"),
        ("SLACK_WEBHOOK_URL", "hooks.slack.com/x", "not_a_url"),
        ("SLACK_WEBHOOK_URL", "https://[broken", "not_a_url"),
        ("ALERT_WEBHOOK_URL", "ftp://empresa.test", "not_a_url"),
        ("SMTP_URL", "mail.empresa.test:25", "not_a_url"),
        ("SMTP_URL", "smtp://", "not_a_url"),
        ("SMTP_URL", "smtp://mail.empresa.test:port", "not_a_url"),
        ("ALERT_EMAIL", "not an address", "not_mail_addresses"),
        ("ALERT_EMAIL", "a@empresa.test\r\nBcc: x@evil.test", "not_mail_addresses"),
        ("ALERT_FROM", "Ana <ana@empresa.test>", "not_mail_addresses"),
        ("DASHBOARD_URL", "javascript:alert(1)", "not_a_url"),
        ("ALERT_ALLOW_PRIVATE", "perhaps", "not_a_flag"),
    ],
)
def test_value_that_cannot_be_used_names_its_variable(variable: str, value: str, code: str) -> None:
    others = MAIL | {"ALERT_WEBHOOK_SECRET": "s" * 20}

    assert problems(**others | {variable: value}) == [f"{variable} {code}"]


def test_email_without_a_server_names_it() -> None:
    assert problems(ALERT_EMAIL="a@empresa.test") == ["SMTP_URL needed_with"]


def test_webhook_without_a_secret_names_it() -> None:
    found = problems(ALERT_WEBHOOK_URL="https://pager.empresa.test")

    assert found == ["ALERT_WEBHOOK_SECRET needed_with"]


def test_short_webhook_secret_is_refused_in_production() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"ALERT_WEBHOOK_SECRET": "short"})

    assert "ALERT_WEBHOOK_SECRET too_short" in [
        f"{it.subject} {it.code}" for it in caught.value.problems
    ]


def test_settings_show_no_address_and_no_secret() -> None:
    settings = alerts(
        SLACK_WEBHOOK_URL=SLACK,
        ALERT_WEBHOOK_URL="https://pager.empresa.test/token-1",
        ALERT_WEBHOOK_SECRET="webhook-secret-1",
        ALERT_EMAIL="a@empresa.test",
        SMTP_URL="smtp://user:mail-secret@mail.empresa.test",
    )

    shown = repr(settings)

    assert not [it for it in (SLACK, "token-1", "webhook-secret-1", "mail-secret") if it in shown]


def test_every_target_is_a_channel_of_its_own_named_by_its_kind() -> None:
    settings = alerts(
        **MAIL,
        SLACK_WEBHOOK_URL=f"{SLACK}1,{SLACK}2,{SLACK}1",
        ALERT_WEBHOOK_URL="https://pager.empresa.test",
        ALERT_WEBHOOK_SECRET="secret",
    )

    assert list(names(settings)) == ["slack", "slack-2", "email", "email-2", "webhook"]


def test_nothing_configured_is_the_log() -> None:
    assert list(names(alerts())) == ["null"]


def test_sender_is_the_first_recipient_unless_it_is_said() -> None:
    assert alerts(**MAIL).sender == "a@empresa.test"
    assert alerts(**MAIL, ALERT_FROM="ia@empresa.test").sender == "ia@empresa.test"


def test_fingerprint_changes_with_whatever_decides_whether_a_message_arrives() -> None:
    one = alerts(**MAIL)
    changed = [
        alerts(**MAIL | {"SMTP_URL": "smtp://user:other@mail.empresa.test"}),
        alerts(**MAIL, ALERT_FROM="ia@empresa.test"),
    ]

    prints = [names(it)["email"] for it in (one, *changed)]

    assert len(set(prints)) == 3
    assert names(one, "another key")["email"] != prints[0]
    assert names(alerts(**MAIL, DASHBOARD_URL="https://ia.test"))["email"] == prints[0]


@pytest.mark.parametrize(
    ("url", "port", "is_tls"),
    [
        ("smtp://mail.test", 587, False),
        ("smtps://mail.test", 465, True),
        ("smtp://u%40x:p%3A%2F@mail.test:25", 25, False),
    ],
)
def test_mail_server_of_a_url(url: str, port: int, is_tls: bool) -> None:
    server = MailServer.of(url)

    assert (server.host, server.port, server.is_tls) == ("mail.test", port, is_tls)
    assert (server.user, server.password) == (("u@x", "p:/") if "@" in url else ("", ""))
