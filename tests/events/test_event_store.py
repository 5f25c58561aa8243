"""From the spool to Postgres, and what follows from it, each once. Real Postgres and real files."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from app.audit.spool import SEGMENT_BYTES, Spool
from app.audit.store import UnstorableEventError
from app.config.settings import Settings
from app.events.event import LiteLLMEvent, to_line
from app.events.group_writer import GroupWriter
from app.events.shipper import EventShipper
from app.events.store import MOST_AT_ONCE, EventStore
from app.extensions import services_of
from app.services.audit_service import AuditService
from app.services.event_effects import EventEffects
from app.serving.flask_app import SolarisFlask
from app.utils.exceptions import SpoolUnavailableError
from tests.events.deliveries import AT
from tests.events.stored import effects, rows, run
from tests.fakes.clock import FakeClock
from tests.waiting import wait_until

PLENTY = 10**9


def made(name: str, event_type: str = "request_start", **facts: object) -> LiteLLMEvent:
    known = LiteLLMEvent(name, event_type, AT, AT, "r-1", "p-1", "gpt-4")
    return replace(known, **facts)  # type: ignore[arg-type]


@pytest.fixture
def engine(clean_database: str) -> Iterator[Engine]:
    engine = create_engine(clean_database)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> EventStore:
    return EventStore(engine)


@pytest.fixture
def audit(app: SolarisFlask) -> AuditService:
    """A trail that ships nothing until it is told to."""
    return services_of(app).audit


@pytest.fixture
def all_effects(audit: AuditService) -> EventEffects:
    return EventEffects(audit, lambda name: name.startswith("gpt"))


def ship(audit: AuditService) -> None:
    audit._shipper.start()
    audit._shipper.stop(10)


def nothing(_events: Sequence[LiteLLMEvent]) -> None:
    """Let nothing follow."""


# --- once, whatever happens ----------------------------------------------------------------------


def test_event_that_is_added_again_is_the_first_one(store: EventStore, settings: Settings) -> None:
    store.add([made("a"), made("a", model="gpt-4o"), made("b")])
    store.add([made("b", model="gpt-4o"), made("c")])
    store.process(nothing)

    stored = {it["id"]: it["model"] for it in rows(settings.database.url, 3)}
    assert stored == {"a": "gpt-4", "b": "gpt-4", "c": "gpt-4"}


def test_event_that_no_column_takes_is_named_as_such(store: EventStore) -> None:
    with pytest.raises(UnstorableEventError):
        store.add([made("a", input_tokens=2**40)])


def test_effect_that_was_done_but_not_noted_is_done_again_and_on_record_once(
    store: EventStore, all_effects: EventEffects, audit: AuditService, settings: Settings
) -> None:
    def apply_and_die(events: Sequence[LiteLLMEvent]) -> None:
        all_effects.apply(events)
        raise KeyboardInterrupt  # as good as a kill: the transaction is gone

    store.add([made("a"), made("b", "request_error", detail={"error": "timeout"})])

    with pytest.raises(KeyboardInterrupt):
        store.process(apply_and_die)
    ship(audit)
    # Another worker.
    assert store.process(all_effects.apply) == 2
    ship(audit)

    assert store.process(all_effects.apply) == 0
    kinds = [it["kind"] for it in effects(settings.database.url, 2)]
    assert sorted(kinds) == ["litellm_request_error", "litellm_request_start"]


def test_effect_waits_while_the_trail_takes_nothing(
    store: EventStore, all_effects: EventEffects, audit: AuditService, settings: Settings
) -> None:
    store.add([made("a")])
    # A file where the folder should be, as good as a disk that takes nothing.
    folder = settings.server.state_dir / "audit"
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.touch()

    with pytest.raises(SpoolUnavailableError):
        store.process(all_effects.apply)
    folder.unlink()

    wait_until(audit.make_durable)
    assert store.process(all_effects.apply) == 1
    ship(audit)
    assert len(effects(settings.database.url, 1)) == 1


def test_two_workers_at_once_share_the_events_and_repeat_none(
    store: EventStore, settings: Settings
) -> None:
    store.add([made(f"e-{number}") for number in range(MOST_AT_ONCE + 50)])
    seen: list[str] = []
    others: list[int] = []

    def while_another_works(events: Sequence[LiteLLMEvent]) -> None:
        seen.extend(it.id for it in events)
        other = threading.Thread(target=lambda: others.append(store.process(remember)))
        other.start()
        other.join()

    def remember(events: Sequence[LiteLLMEvent]) -> None:
        seen.extend(it.id for it in events)

    first = store.process(while_another_works)

    assert (first, others) == (MOST_AT_ONCE, [50])
    assert len(seen) == len(set(seen)) == MOST_AT_ONCE + 50
    assert len(rows(settings.database.url, 250)) == 250


def test_event_that_has_no_effect_keeps_none_from_theirs(
    store: EventStore, all_effects: EventEffects, audit: AuditService, settings: Settings
) -> None:
    store.add([made("a", "of_a_kind_that_was_given_up"), made("b"), made("c", model=None)])

    assert store.process(all_effects.apply) == 3

    ship(audit)
    assert len(effects(settings.database.url, 2)) == 2


# --- for how long --------------------------------------------------------------------------------


def test_events_are_dropped_when_they_are_old_and_what_follows_is_done(
    store: EventStore, settings: Settings
) -> None:
    long_ago = AT - timedelta(days=41)
    store.add([made("old", received_at=long_ago), made("new")])
    store.process(nothing)
    store.add([made("old but open", received_at=long_ago)])

    assert store.drop_before(AT - timedelta(days=40)) == 1

    store.process(nothing)
    assert {it["id"] for it in rows(settings.database.url, 2)} == {"new", "old but open"}


def test_legal_hold_keeps_old_events(store: EventStore, settings: Settings) -> None:
    store.add([made("old", received_at=AT - timedelta(days=41))])
    store.process(nothing)
    run(settings.database.url, "INSERT INTO legal_holds (reason, set_by) VALUES ('x', 'y')")

    assert store.drop_before(AT) == 0


def test_shipper_stores_applies_and_drops(
    store: EventStore, settings: Settings, tmp_path: Path
) -> None:
    applied: list[str] = []
    clock = FakeClock()
    now = clock.now()
    spool = Spool(tmp_path, PLENTY, "mine")
    for name, received_at in (("old", now - timedelta(days=41)), ("new", now)):
        spool.append(to_line(made(name, received_at=received_at)))

    def apply(events: Sequence[LiteLLMEvent]) -> None:
        applied.extend(it.id for it in events)

    shipper = EventShipper(spool, tmp_path, store, apply, clock, 40)
    shipper.start()
    shipper.stop(10)

    assert sorted(applied) == ["new", "old"]
    assert [it["id"] for it in rows(settings.database.url, 1)] == ["new"]
    assert spool.waiting_bytes == 0


# --- to the disk ---------------------------------------------------------------------------------


def lines_in(folder: Path) -> list[bytes]:
    return [line for path in sorted(folder.iterdir()) for line in path.read_bytes().splitlines()]


def write_all(spool: Spool, blocks: Sequence[bytes]) -> list[BaseException | None]:
    async def write() -> list[BaseException | None]:
        writer = GroupWriter(spool)
        found = await asyncio.gather(*map(writer.write, blocks), return_exceptions=True)
        await writer.close()
        return list(found)

    return asyncio.run(write())


class CountingSpool(Spool):
    """A real one that counts how often it was synced."""

    groups = 0

    def append_durably(self, blocks: Sequence[bytes]) -> list[SpoolUnavailableError | None]:
        self.groups += 1
        return super().append_durably(blocks)


def test_many_who_write_at_once_wait_for_few_syncs(tmp_path: Path) -> None:
    spool = CountingSpool(tmp_path, PLENTY, "mine")
    blocks = [b"%d\n" % number for number in range(100)]

    assert write_all(spool, blocks) == [None] * 100

    assert lines_in(tmp_path) == [it.strip() for it in blocks]
    assert spool.groups <= 2


def test_block_that_does_not_fit_is_refused_whole_and_others_are_written(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1000, "mine")

    small, large, other = write_all(spool, [b"a\n", b"b\n" * 1000, b"c\n"])

    assert (small, type(large), other) == (None, SpoolUnavailableError, None)
    assert lines_in(tmp_path) == [b"a", b"c"]


def test_blocks_over_two_files_are_all_written(tmp_path: Path) -> None:
    spool = Spool(tmp_path, PLENTY, "mine")
    block = (b"x" * 1023 + b"\n") * (SEGMENT_BYTES // 1024 - 1)

    assert write_all(spool, [block, block]) == [None, None]

    assert [path.stat().st_size for path in sorted(tmp_path.iterdir())] == [len(block)] * 2


def test_folder_that_takes_nothing_refuses_all(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.touch()

    refused = write_all(Spool(folder, PLENTY, "mine"), [b"a\n", b"b\n"])

    assert [type(it) for it in refused] == [SpoolUnavailableError] * 2


def test_writer_who_leaves_keeps_no_other_waiting(tmp_path: Path) -> None:
    spool = Spool(tmp_path, PLENTY, "mine")

    async def write() -> None:
        writer = GroupWriter(spool)
        leaver = asyncio.create_task(writer.write(b"a\n"))
        stayer = asyncio.create_task(writer.write(b"b\n"))
        await asyncio.sleep(0)
        leaver.cancel()
        await stayer
        await writer.close()

    asyncio.run(write())

    assert lines_in(tmp_path) == [b"a", b"b"]


def test_sync_while_files_are_finished_with_fails_for_nobody(tmp_path: Path) -> None:
    """What one thread syncs another may have shipped, and would close."""
    for number in range(40):
        (tmp_path / f"gone-{number:03d}.000000.events").write_bytes(b"{}\n")
    spool = Spool(tmp_path, PLENTY, "mine")
    assert spool.take_over() == 40
    failures: list[BaseException] = []

    def sync() -> None:
        while spool.segments():
            try:
                spool.sync()
            except OSError as fault:
                failures.append(fault)
            # The lock is let go of, for as long as another needs to take it.
            time.sleep(0.005)

    syncing = threading.Thread(target=sync)
    syncing.start()
    for segment in spool.segments():
        segment.shipped = segment.size
        spool.forget(segment)
    syncing.join()

    assert (failures, list(tmp_path.iterdir())) == ([], [])
