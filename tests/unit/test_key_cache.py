from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from app.services import key_cache
from app.services.key_cache import FRESH_S, RECHECK_S, STALE_LIMIT_S, KeyCache
from app.services.key_store import KeyRecord
from app.utils.exceptions import DatabaseUnavailableError
from tests.fakes.clock import FakeClock
from tests.fakes.key_store import FakeKeyStore


@dataclass
class Stage:
    """A cache over a store, and the time both live in."""

    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.store = FakeKeyStore(self.clock)
        self.cache = KeyCache(self.store, self.clock)

    def add(self, name: str = "ana") -> bytes:
        record = self.store.add(
            name=name,
            prefix="sk-solaris-abc",
            key_hash=name.encode(),
            user_id=None,
            team_id=None,
            role="user",
            trusted=False,
            allowed_models=None,
            expires_at=None,
        )
        return record.key_hash

    def find(self, key_hash: bytes) -> KeyRecord | None:
        return asyncio.run(self.cache.find(key_hash))

    def poll(self) -> None:
        asyncio.run(self.cache.poll())

    def let_pass(self, seconds: int) -> None:
        """Poll every second, as a worker does."""
        for _ in range(seconds):
            self.clock.advance(1)
            self.poll()


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_key_found_is_the_stores(stage: Stage) -> None:
    record = stage.find(stage.add("ana"))

    assert record is not None
    assert record.name == "ana"


def test_key_found_again_while_fresh_asks_the_store_nothing(stage: Stage) -> None:
    key = stage.add()
    stage.find(key)
    stage.clock.advance(FRESH_S - 0.1)

    stage.find(key)

    assert stage.store.finds == 1


def test_key_unknown_is_remembered_while_fresh(stage: Stage) -> None:
    stage.find(b"nobody")

    assert stage.find(b"nobody") is None
    assert stage.store.finds == 1


def test_key_no_longer_fresh_is_asked_for_again(stage: Stage) -> None:
    key = stage.add()
    stage.find(key)
    stage.clock.advance(FRESH_S)

    stage.find(key)

    assert stage.store.finds == 2


def test_key_kept_fresh_by_polls_is_not_asked_for_again(stage: Stage) -> None:
    key = stage.add()
    stage.find(key)
    stage.let_pass(int(RECHECK_S) - 1)

    stage.find(key)

    assert stage.store.finds == 1


def test_key_kept_fresh_by_polls_is_still_rechecked_now_and_then(stage: Stage) -> None:
    key = stage.add()
    stage.find(key)
    stage.let_pass(int(RECHECK_S))

    stage.find(key)

    assert stage.store.finds == 2


def test_key_revoked_is_seen_after_a_poll(stage: Stage) -> None:
    key = stage.add()
    stage.find(key)
    stage.clock.advance(1)
    stage.store.revoke(stage.store.find_live("ana").id)
    stage.poll()

    record = stage.find(key)

    assert record is not None
    assert record.revoked_at is not None


def test_key_revoked_without_polls_is_seen_when_freshness_ends(stage: Stage) -> None:
    key = stage.add()
    stage.find(key)
    stage.store.revoke(stage.store.find_live("ana").id)
    stage.clock.advance(FRESH_S)

    record = stage.find(key)

    assert record is not None
    assert record.revoked_at is not None


def test_key_made_after_it_was_asked_for_is_found_after_a_poll(stage: Stage) -> None:
    stage.find(b"ana")
    stage.add("ana")
    stage.poll()

    assert stage.find(b"ana") is not None


def test_key_unchanged_survives_a_poll_that_sees_its_last_change_again(stage: Stage) -> None:
    key = stage.add()
    stage.find(key)
    stage.poll()

    stage.find(key)

    assert stage.store.finds == 1


def test_key_revoked_between_failed_polls_is_seen_by_the_next_one(stage: Stage) -> None:
    key = stage.add()
    stage.find(key)
    stage.clock.advance(1)
    stage.store.revoke(stage.store.find_live("ana").id)
    stage.store.is_away = True
    stage.clock.advance(300)
    stage.poll()
    stage.store.is_away = False

    stage.poll()

    record = stage.find(key)
    assert record is not None
    assert record.revoked_at is not None


def test_known_key_right_after_a_failed_poll_is_served_without_asking(stage: Stage) -> None:
    key = stage.add()
    stage.find(key)
    stage.store.is_away = True
    stage.clock.advance(FRESH_S)
    stage.poll()
    stage.store.is_away = False

    stage.find(key)

    assert stage.store.finds == 1


def test_postgres_is_asked_again_some_time_after_it_was_away(stage: Stage) -> None:
    key = stage.add()
    stage.find(key)
    stage.store.is_away = True
    stage.poll()
    stage.store.is_away = False
    stage.clock.advance(FRESH_S)

    stage.find(key)

    assert stage.store.finds == 2


def test_flood_of_unknown_keys_pushes_out_no_known_one(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_cache, "MAX_UNKNOWN", 2)
    key = stage.add()
    stage.find(key)
    for number in range(10):
        stage.find(b"%d" % number)

    stage.find(key)

    assert stage.store.finds == 11


def test_known_key_during_an_outage_is_served_for_ten_minutes(stage: Stage) -> None:
    key = stage.add()
    stage.find(key)
    stage.store.is_away = True
    stage.clock.advance(STALE_LIMIT_S - 1)

    assert stage.find(key) is not None


def test_known_key_during_a_longer_outage_is_refused(stage: Stage) -> None:
    key = stage.add()
    stage.find(key)
    stage.store.is_away = True
    stage.clock.advance(STALE_LIMIT_S)

    with pytest.raises(DatabaseUnavailableError):
        stage.find(key)


def test_known_key_during_an_outage_counts_from_the_last_good_poll(stage: Stage) -> None:
    key = stage.add()
    stage.find(key)
    stage.clock.advance(500)
    stage.poll()
    stage.store.is_away = True
    stage.clock.advance(500)

    assert stage.find(key) is not None


def test_unknown_key_during_an_outage_is_refused_as_unavailable(stage: Stage) -> None:
    stage.store.is_away = True

    with pytest.raises(DatabaseUnavailableError):
        stage.find(b"nobody")


def test_key_remembered_as_unknown_is_not_held_against_it_during_an_outage(stage: Stage) -> None:
    stage.find(b"ana")
    stage.store.is_away = True
    stage.clock.advance(FRESH_S)

    with pytest.raises(DatabaseUnavailableError):
        stage.find(b"ana")


def test_cache_that_is_full_forgets_the_oldest(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_cache, "MAX_ENTRIES", 2)
    for name in ("a", "b", "c"):
        stage.find(stage.add(name))

    stage.find(b"b")
    stage.find(b"c")
    stage.find(b"a")

    assert stage.store.finds == 4


def test_watch_polls_until_it_is_cancelled(stage: Stage) -> None:
    stage.find(b"ana")
    stage.add("ana")

    async def watch() -> KeyRecord | None:
        task = asyncio.create_task(stage.cache.keep_fresh())
        while (record := await stage.cache.find(b"ana")) is None:  # noqa: ASYNC110  # a poll
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        return record

    assert asyncio.run(asyncio.wait_for(watch(), 10)) is not None
