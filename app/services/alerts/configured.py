"""The channels that the settings name."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from urllib.parse import urlsplit

from app.alerting.outbox import Target
from app.config.alert_words import AlertWords
from app.config.settings import AlertSettings
from app.services.alerts.channel import Channel, ConfiguredChannel
from app.services.alerts.email import EmailChannel, MailServer
from app.services.alerts.null import NullChannel
from app.services.alerts.outbound import Outbound
from app.services.alerts.slack import SlackChannel
from app.services.alerts.webhook import WebhookChannel
from app.utils.clock import Clock

NULL = "null"


def configured_channels(
    settings: AlertSettings, words: AlertWords, clock: Clock, key: str
) -> list[ConfiguredChannel]:
    """Return them all; the log, where there is none. ``key`` makes the fingerprints: without it
    nobody can try passwords at them."""
    found = list(_channels(settings, words, clock))
    kinds = [kind for kind, _, _, _ in found]
    channels: list[ConfiguredChannel] = []
    for place, (kind, channel, where, secrets) in enumerate(found):
        number = kinds[: place + 1].count(kind)
        name = kind if number == 1 else f"{kind}-{number}"
        target = Target(name, kind, _fingerprint(key, kind, *secrets), where)
        # What is named twice is told once.
        if target.fingerprint not in {it.target.fingerprint for it in channels}:
            channels.append(ConfiguredChannel(target, channel))
    return channels or [ConfiguredChannel(Target(NULL, NULL, NULL), NullChannel())]


Found = tuple[str, Channel, str, tuple[str, ...]]


def _channels(settings: AlertSettings, words: AlertWords, clock: Clock) -> Iterator[Found]:
    """Yield kind, channel, where it leads, and what its fingerprint is of."""
    if not (settings.slack_urls or settings.emails or settings.webhook_urls):
        return
    outbound, link = Outbound(clock, settings.allow_private), settings.dashboard_url
    for url in settings.slack_urls:
        yield "slack", SlackChannel(url, outbound, words, link), _host(url), (url,)
    for address in settings.emails:
        smtp_url, sender = settings.smtp_url or "", settings.sender
        server = MailServer.of(smtp_url)
        channel = EmailChannel(server, sender, address, outbound, words, clock, link)
        yield "email", channel, address, (smtp_url, sender, address)
    for url in settings.webhook_urls:
        secret = settings.webhook_secret
        webhook = WebhookChannel(url, secret, outbound, words, clock, link)
        yield "webhook", webhook, _host(url), (url, secret)


def _fingerprint(key: str, *parts: str) -> str:
    said = "\0".join(parts).encode()
    return hmac.new(key.encode(), said, hashlib.sha256).hexdigest()[:32]


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""
