"""Prompts and answers on a real Postgres: masked, sealed on disk, under their person's secret."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, text

from app.audit.chain import AuditKeys, UnknownAuditKeyError
from app.audit.content import (
    CUT,
    MAX_TEXT_BYTES,
    Content,
    ContentKeys,
    ContentStore,
    UnreadableContentError,
    drop_old_contents,
)
from app.audit.event import AuditEvent, from_line, to_line
from app.audit.names import ErasedError, Name
from app.audit.rows import uuid_of
from app.audit.shipper import AuditShipper
from app.audit.spool import READ_BYTES, Spool
from app.audit.store import AuditStore
from tests.audit.events import NOW, event
from tests.audit.test_audit_store import SECRET, ZONE
from tests.waiting import wait_until

PROMPT, ANSWER = "Quanto custa um canário-amarelo?", "Um canário custa R$ 80."
LATER_SECRET = "an-audit-secret-of-the-tests-only-02"


@pytest.fixture
def engine(clean_database: str) -> Iterator[Engine]:
    engine = create_engine(clean_database)
    yield engine
    engine.dispose()


@pytest.fixture
def contents(engine: Engine) -> ContentStore:
    return ContentStore(engine, AuditKeys([SECRET]))


@pytest.fixture
def store(engine: Engine, contents: ContentStore) -> AuditStore:
    return AuditStore(engine, AuditKeys([SECRET]).current, ZONE, contents)


def told(
    number: int = 0,
    prompt: str = PROMPT,
    answer: str = ANSWER,
    secret: str = SECRET,
    **facts: Any,
) -> AuditEvent:
    """Return an event with its content, as a call leaves it to the spool."""
    made = event(number, **facts)
    sealed = ContentKeys(AuditKeys([secret])).seal(made.event_id, prompt, answer)
    return replace(made, content=sealed)


def run(engine: Engine, statement: str, **values: Any) -> Any:
    with engine.begin() as connection:
        result = connection.execute(text(statement), values)
        return result.scalar_one() if result.returns_rows else result.rowcount


def test_content_comes_back_as_it_was_said(store: AuditStore, contents: ContentStore) -> None:
    said = told()

    store.append([event(1), said])

    assert contents.read(said.event_id) == Content(PROMPT, ANSWER)


def test_numbers_and_keys_are_masked_before_anything_is_written(
    store: AuditStore, contents: ContentStore
) -> None:
    said = told(prompt="CPF 123.456.789-09, ana@exemplo.com", answer="use sk-a1b2c3d4e5f6g7h8")

    store.append([said])

    assert contents.read(said.event_id) == Content("CPF [CPF], [E-MAIL]", "use [CHAVE]")


def test_neither_spool_nor_table_has_a_word_of_it(
    engine: Engine, store: AuditStore, tmp_path: Path
) -> None:
    said = told(prompt=PROMPT * 50)
    spool = Spool(tmp_path, 2**20, "here")

    spool.append(to_line(said))
    on_disk = b"".join(it.read_bytes() for it in tmp_path.iterdir())
    store.append([said])

    row = run(engine, "SELECT prompt || answer FROM audit_contents")
    for where in (on_disk, bytes(row)):
        assert b"can\xc3\xa1rio" not in where
        assert "canário".encode("utf-16-le") not in where
    spool.close()


def test_content_goes_the_way_of_events_and_is_there_once(
    engine: Engine, store: AuditStore, contents: ContentStore, tmp_path: Path
) -> None:
    said = told()
    spool = Spool(tmp_path, 2**20, "here")
    for _ in range(2):
        spool.append(to_line(said))
    shipper = AuditShipper(spool, store.append, tmp_path)

    shipper.start()
    wait_until(lambda: spool.waiting_bytes == 0, 10)
    shipper.stop(5)

    assert contents.read(said.event_id) == Content(PROMPT, ANSWER)
    assert run(engine, "SELECT count(*) FROM audit_contents") == 1
    spool.close()


def test_longest_texts_fit_what_the_spool_reads_at_once() -> None:
    # As good as random: it cannot be compressed much.
    noise = "".join(chr(0x4E00 + (it * 48_271 % 20_000)) for it in range(MAX_TEXT_BYTES))

    line = to_line(told(prompt=noise, answer=noise))

    assert len(line) < READ_BYTES
    kept = ContentKeys(AuditKeys([SECRET])).open_sealed(
        from_line(line).event_id, from_line(line).content or ""
    )
    assert kept.prompt.endswith(CUT)
    assert noise.startswith(kept.prompt.removesuffix(CUT))


def test_number_at_the_edge_of_a_cut_is_not_left_in_part() -> None:
    start = "a" * (MAX_TEXT_BYTES - 8) + " 123.456.789-09"
    keys = ContentKeys(AuditKeys([SECRET]))

    kept = keys.open_sealed("1", keys.seal("1", start, ""))

    assert not any(map(str.isdecimal, kept.prompt))


@given(st.text(max_size=50), st.text(max_size=50))
def test_any_text_can_be_sealed_opened_and_sealed_again(prompt: str, answer: str) -> None:
    keys = ContentKeys(AuditKeys([SECRET]))

    content = keys.open_sealed("1", keys.seal("1", prompt, answer))

    assert content == keys.open_sealed("1", keys.seal("1", content.prompt, content.answer))


def test_half_of_a_letter_is_no_obstacle() -> None:
    keys = ContentKeys(AuditKeys([SECRET]))

    assert keys.open_sealed("1", keys.seal("1", "a\ud83d", "")).prompt == "a?"


def test_content_opens_with_a_former_key(engine: Engine, store: AuditStore) -> None:
    said = told()
    store.append([said])

    rotated = ContentStore(engine, AuditKeys([LATER_SECRET, SECRET]))

    assert rotated.read(said.event_id) == Content(PROMPT, ANSWER)


def test_content_without_its_key_stays_shut(engine: Engine, store: AuditStore) -> None:
    said = told()
    store.append([said])

    with pytest.raises(UnknownAuditKeyError):
        ContentStore(engine, AuditKeys([LATER_SECRET])).read(said.event_id)


def test_content_of_somebody_without_a_secret_stays_shut(
    engine: Engine, store: AuditStore, contents: ContentStore
) -> None:
    said = told()
    store.append([said])

    run(engine, "UPDATE audit_names SET value = NULL, secret = NULL WHERE kind = 'user'")

    with pytest.raises(ErasedError):
        contents.read(said.event_id)


def test_another_persons_secret_opens_nothing() -> None:
    keys, event_id = ContentKeys(AuditKeys([SECRET])), uuid_of("1")
    ana, bia = (Name.make(number, "user", name) for number, name in ((1, "ana"), (2, "bia")))
    stored = keys.encrypt(event_id, ana, Content(PROMPT, ANSWER))

    with pytest.raises(UnreadableContentError):
        keys.decrypt(event_id, bia, stored)


@pytest.mark.parametrize(
    "change",
    [
        "prompt = answer, answer = prompt",
        "prompt = set_byte(prompt, 20, get_byte(prompt, 20) # 1)",
        "event_id = '00000000-0000-0000-0000-000000000001'",
    ],
    ids=["exchanged", "edited", "moved"],
)
def test_content_that_was_changed_in_the_database_is_not_believed(
    engine: Engine, store: AuditStore, contents: ContentStore, change: str
) -> None:
    store.append([told()])

    run(engine, f"UPDATE audit_contents SET {change}")

    with pytest.raises(UnreadableContentError):
        contents.read(run(engine, "SELECT event_id::text FROM audit_contents"))


@pytest.mark.parametrize("sealed", ["", "junk", "00000000.AAAA", "{key}.AAAA", "{key}.AAA"])
def test_content_that_nobody_can_open_keeps_no_event_back(
    engine: Engine, store: AuditStore, sealed: str
) -> None:
    key_id = AuditKeys([SECRET]).current.id

    store.append([event(1, content=sealed.format(key=key_id)), event(2)])

    assert run(engine, "SELECT count(*) FROM audit_events") == 2
    assert run(engine, "SELECT count(*) FROM audit_contents") == 0


@pytest.mark.parametrize("facts", [{"user": None}, {"user": None, "key": None}, {"private": {}}])
def test_content_of_nobody_named_is_the_keys_or_nobodys(
    store: AuditStore, contents: ContentStore, facts: dict[str, Any]
) -> None:
    said = told(**facts)

    store.append([said])

    assert contents.read(said.event_id) == Content(PROMPT, ANSWER)


def test_nothing_is_kept_where_nothing_is_asked_for(engine: Engine) -> None:
    AuditStore(engine, AuditKeys([SECRET]).current, ZONE).append([told()])

    assert run(engine, "SELECT count(*) FROM audit_contents") == 0


def test_row_says_that_there_was_a_content(engine: Engine, store: AuditStore) -> None:
    store.append([told(detail={})])

    assert run(engine, "SELECT detail::json ->> 'content' FROM audit_events") == "true"


def test_old_contents_go_and_younger_ones_stay(
    engine: Engine, store: AuditStore, contents: ContentStore
) -> None:
    old, young = told(1, at=NOW - timedelta(days=31)), told(2)
    store.append([old, young])

    with engine.begin() as connection:
        dropped = drop_old_contents(connection, NOW - timedelta(days=30))

    assert dropped == 1
    assert contents.read(old.event_id) is None
    assert contents.read(young.event_id) is not None


@pytest.mark.parametrize(
    ("held", "lifted", "left"),
    [("ana", "NULL", 1), (None, "NULL", 2), ("ana", "now()", 0), ("unknown", "NULL", 0)],
    ids=["one person", "everybody", "lifted", "somebody else"],
)
def test_contents_under_a_legal_hold_stay(
    engine: Engine, store: AuditStore, held: str | None, lifted: str, left: int
) -> None:
    store.append([told(1, user="ana"), told(2, user="bia")])
    run(
        engine,
        "INSERT INTO legal_holds (subject, reason, set_by, lifted_at)"
        f" VALUES (:held, 'process 1', 'dpo', {lifted})",
        held=held,
    )

    with engine.begin() as connection:
        drop_old_contents(connection, NOW + timedelta(days=1))

    assert run(engine, "SELECT count(*) FROM audit_contents") == left
