"""Slack's incoming webhooks: Block Kit in an attachment, which is what has a colour.

Source: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

from app.alerting.message import Message
from app.config.alert_words import AlertText, AlertWords
from app.services.alerts.channel import TransportError, colour_of
from app.services.alerts.outbound import Outbound, RefusedError

# What a block may hold.
MAX_HEADER, MAX_TEXT, MAX_FIELD, MAX_FIELDS = 150, 3000, 2000, 10
# Of the answers with status 400, those that say that the address is no good.
# https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors
GONE = frozenset(
    "invalid_token no_service no_service_id no_team team_disabled user_not_found".split()
)
# Slack's own control characters, and names that some clients, and its kin, make into a ping.
ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
PINGS = re.compile(r"@(?=(here|channel|everyone|all)\b)", re.IGNORECASE)
ZERO_WIDTH_SPACE = "\u200b"


@dataclass(frozen=True, slots=True)
class SlackChannel:
    url: str
    outbound: Outbound
    words: AlertWords
    dashboard_url: str = ""

    async def send(self, message: Message) -> None:
        body = orjson.dumps(self.payload(message))
        try:
            await self.outbound.post(self.url, body, {})
        except RefusedError as error:
            if error.answer.strip() in GONE:
                raise TransportError(error.answer.strip(), permanent=True) from error
            raise

    def payload(self, message: Message) -> dict[str, Any]:
        text = self.words.text(message)
        return {
            # For notifications, and for clients without blocks.
            "text": escaped(text.title, MAX_TEXT),
            "mrkdwn": False,
            "unfurl_links": False,
            "unfurl_media": False,
            "attachments": [{"color": colour_of(message), "blocks": self._blocks(text)}],
        }

    def _blocks(self, text: AlertText) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = [
            {"type": "header", "text": _plain(text.title, MAX_HEADER)},
        ]
        said = "\n".join(it for it in (text.sentence, text.advice) if it)
        listed = "\n".join(f"• {it}" for it in text.items)
        blocks += [{"type": "section", "text": _plain(it, MAX_TEXT)} for it in (said, listed) if it]
        fields = [_plain(f"{label}\n{value}", MAX_FIELD) for label, value in text.rows]
        blocks.append({"type": "section", "fields": fields[:MAX_FIELDS]})
        if self.dashboard_url:
            button = {
                "type": "button",
                "text": _plain(self.words.label("open"), MAX_FIELD),
                "url": self.dashboard_url,
            }
            blocks.append({"type": "actions", "elements": [button]})
        return blocks


def escaped(text: str, longest: int) -> str:
    """Return ``text`` as Slack shows it, whatever it holds, in so many characters at most."""
    text = PINGS.sub(f"@{ZERO_WIDTH_SPACE}", text)
    pieces = [ESCAPES.get(it, it) for it in text]
    if sum(map(len, pieces)) > longest:
        # No half of an escape may be left at the end.
        while sum(map(len, pieces)) > longest - 1:
            pieces.pop()
        pieces.append("…")
    return "".join(pieces)


def _plain(text: str, longest: int) -> dict[str, Any]:
    # Never mrkdwn: what others wrote could then be links and formats.
    return {"type": "plain_text", "text": escaped(text, longest), "emoji": False}
