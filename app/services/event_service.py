"""The receiver of LiteLLM's events: verified, read, on disk, and only then answered.

Nothing here waits for Postgres, or for whatever follows from an event.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, ParamSpec, TypeVar

from app.audit.spool import Spool
from app.events.delivery import elements_of
from app.events.event import to_line
from app.events.group_writer import GroupWriter
from app.events.normalise import Batch, Rejection, normalise
from app.events.shipper import EventShipper
from app.services.audit_service import AuditService
from app.utils.clock import Clock
from app.utils.exceptions import InvalidRequestError, InvalidSignatureError
from app.utils.signatures import UNSIGNED, Headers, Verdict, verify

logger = logging.getLogger("events")

CLOSE_PATIENCE_S = 5.0
# What is larger is verified and read beside the loop.
LARGE_BYTES = 16 * 1024
# So many complaints are told to the sender, and kinds of events counted by name.
MOST_TOLD = 20
MOST_KINDS = 50
OTHER_KINDS = "other"

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Delivery:
    """A request as it came; nothing of it is believed yet."""

    headers: Headers
    body: bytes
    # Its Content-Encoding.
    encoding: str
    ip: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a delivery's elements; of those that are no events, the first few."""

    accepted: int
    ignored: int
    rejected: int
    problems: Sequence[dict[str, Any]]

    def facts(self) -> dict[str, Any]:
        return {"status": "processed", **asdict(self)}


class EventService:
    """One instance a process; used on its event loop."""

    def __init__(
        self,
        spool: Spool,
        shipper: EventShipper,
        audit: AuditService,
        secrets: Sequence[str],
        clock: Clock,
        *,
        takes_unsigned: bool,
    ) -> None:
        """``takes_unsigned``: in development, where no secret is set."""
        self._spool = spool
        self._writer = GroupWriter(spool)
        self._shipper = shipper
        self._audit = audit
        self._secrets = tuple(secrets)
        self._clock = clock
        self._takes_unsigned = takes_unsigned and not secrets
        # Not asyncio's own threads: those may all be waiting for Postgres.
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="events-read")
        # Events by kind that are of no kind of ours.
        self.unknown_kinds: Counter[str] = Counter()

    async def open(self) -> None:
        """Start to bring what is on disk into Postgres."""
        await asyncio.to_thread(self._shipper.start)

    async def close(self) -> None:
        """Bring what is left into Postgres, as far as it lets; the rest waits on disk."""
        await self._writer.close()
        self._threads.shutdown(wait=False)
        await asyncio.to_thread(self._shipper.stop, CLOSE_PATIENCE_S)
        self._spool.close()

    async def receive(self, delivery: Delivery) -> Receipt:
        """Return when every event of the delivery survives the machine.

        An element that is no event is told, and does not keep the others from being taken: it
        would be none the next time either, and senders drop or repeat whole batches.
        Raises: InvalidSignatureError; InvalidRequestError, where nothing in it is an event;
        RequestTooLargeError; SpoolUnavailableError, where it should be sent again.
        """
        verdict = await self._verdict_on(delivery)
        if verdict.refusal is not None:
            self._note_refused(verdict.refusal, delivery.ip)
            raise InvalidSignatureError()
        # What is packed may be large, whatever its size is now.
        weight = LARGE_BYTES if delivery.encoding else len(delivery.body)
        lines, batch = await self._beside(weight, self._read, delivery, verdict.delivery_id)
        self._note_unknown(batch.unknown)
        if lines:
            await self._writer.write(lines)
        elif not batch.unknown:
            raise _complaint(batch.rejected)
        return _receipt(batch)

    async def _verdict_on(self, delivery: Delivery) -> Verdict:
        if self._takes_unsigned:
            return Verdict(delivery_id=delivery.headers.get("webhook-id"))
        if not self._secrets:
            return Verdict(UNSIGNED)
        body, now = delivery.body, self._clock.now()
        return await self._beside(len(body), verify, delivery.headers, body, self._secrets, now)

    def _read(self, delivery: Delivery, delivery_id: str | None) -> tuple[bytes, Batch]:
        elements = elements_of(delivery.body, delivery.encoding)
        batch = normalise(elements, delivery_id, self._clock.now())
        return b"".join(map(to_line, batch.events)), batch

    async def _beside(
        self, weight: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do what takes long in a thread, and the rest at once."""
        if weight < LARGE_BYTES:
            return work(*args, **kwargs)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: work(*args, **kwargs))

    def _note_refused(self, reason: str, ip: str) -> None:
        if self._audit.log_webhook_refused(reason, ip):
            logger.warning("webhook_refused", extra={"reason": reason})

    def _note_unknown(self, kinds: Sequence[str]) -> None:
        for kind in kinds:
            is_named = kind in self.unknown_kinds or len(self.unknown_kinds) < MOST_KINDS
            name = kind if is_named else OTHER_KINDS
            if name not in self.unknown_kinds:
                logger.warning("event_of_unknown_kind", extra={"kind": name})
            self.unknown_kinds[name] += 1


def _complaint(rejected: Sequence[Rejection]) -> InvalidRequestError:
    """Return what is wrong with the first of several, or with the only one."""
    first = rejected[0]
    place = first.field
    if len(rejected) > 1:
        place = f"[{first.index}].{place}" if place else f"[{first.index}]"
    return InvalidRequestError(first.problem, param=place)


def _receipt(batch: Batch) -> Receipt:
    problems = [
        {"index": it.index, "field": it.field, "problem": it.problem}
        for it in batch.rejected[:MOST_TOLD]
    ]
    return Receipt(len(batch.events), len(batch.unknown), len(batch.rejected), problems)
