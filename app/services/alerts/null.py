"""Where no channel is configured: a line in the log."""

from __future__ import annotations

import logging

from app.alerting.message import Message

logger = logging.getLogger("alerts")

LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.CRITICAL}


class NullChannel:
    async def send(self, message: Message) -> None:
        # Not the subject: it may be a person's.
        extra = {"message_id": message.id, "kind": message.kind, "rule": message.rule}
        logger.log(LEVELS.get(message.severity, logging.WARNING), "alert", extra=extra)
