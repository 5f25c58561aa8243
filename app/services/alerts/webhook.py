"""A generic signed webhook: Standard Webhooks' headers, and the signature that this proxy's own
receiver takes. https://github.com/standard-webhooks/standard-webhooks/blob/main/spec"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import asdict, dataclass
from datetime import UTC
from typing import Any

import orjson

from app.alerting.message import Message
from app.config.alert_words import AlertWords
from app.config.plain_text import plain_tree
from app.services.alerts.identifiers import header_safe
from app.services.alerts.outbound import Outbound
from app.utils.clock import Clock
from app.utils.signatures import sign

SECRET_PREFIX = "whsec_"  # noqa: S105  # a prefix


@dataclass(frozen=True, slots=True)
class WebhookChannel:
    url: str
    secret: str
    outbound: Outbound
    words: AlertWords
    clock: Clock
    dashboard_url: str = ""

    async def send(self, message: Message) -> None:
        body = orjson.dumps(self.payload(message))
        webhook_id = header_safe(message.id)
        timestamp = str(int(self.clock.now().timestamp()))
        headers = {
            # The same for each attempt: receivers know by it what they have had.
            "webhook-id": webhook_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{signature(self.secret, webhook_id, timestamp, body)}",
            "X-Signature-256": sign(body, self.secret),
        }
        await self.outbound.post(self.url, body, headers)

    def payload(self, message: Message) -> dict[str, Any]:
        return {
            "type": f"alert.{message.kind}",
            "timestamp": message.at.astimezone(UTC).isoformat(),
            "data": {
                "id": message.id,
                **plain_tree(
                    {
                        "rule": message.rule,
                        "subject": message.subject,
                        "severity": message.severity,
                        "facts": message.facts,
                        "items": message.items,
                    }
                ),
                "text": asdict(self.words.text(message)),
                "dashboard_url": self.dashboard_url or None,
            },
        }


def signature(secret: str, webhook_id: str, timestamp: str, body: bytes) -> str:
    """Return Standard Webhooks' v1: base64 of HMAC-SHA256 over id, time and body."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode()


def _key(secret: str) -> bytes:
    """A secret in Standard Webhooks' own form is base64; any other is taken as it is."""
    if secret.startswith(SECRET_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        except ValueError:
            pass
    return secret.encode()
