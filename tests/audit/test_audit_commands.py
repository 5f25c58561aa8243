"""`solaris audit verify` and `solaris audit retain`: what they print where, and how they end."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import orjson
import pytest
from sqlalchemy import Engine, text

from app.audit.anchor import ANCHOR, FOLDER, anchor_of, keep_anchor
from app.audit.chain import AuditKey, Checkpoint
from app.config.settings import Settings
from tests.audit.conftest import Ask
from tests.audit.trails import FORMER, append, changed


@pytest.fixture
def solaris(ask: Ask) -> Ask:
    """Run a command that knows the former key, too."""
    return partial(ask, AUDIT_HMAC_KEY_PREVIOUS=FORMER)


@pytest.fixture
def trail(engine: Engine, settings: Settings) -> list[Checkpoint]:
    """Three batches, the first with the former key; this machine knows of the last."""
    checkpoints = [append(engine, 5, secret=FORMER), append(engine, 5), append(engine, 5)]
    folder = settings.server.state_dir / FOLDER
    folder.mkdir(parents=True)
    keep_anchor(folder, checkpoints[-1])
    return checkpoints


def do(engine: Engine, statement: str) -> None:
    with changed(engine, keep=True) as cursor:
        cursor.execute(statement)


def cut(engine: Engine) -> None:
    do(engine, "DELETE FROM audit_events WHERE seq > 10")
    do(engine, "DELETE FROM audit_checkpoints WHERE id > 2")
    do(engine, "DELETE FROM audit_names WHERE id > (SELECT max(last_name) FROM audit_checkpoints)")


def test_verify_of_a_good_trail_says_how_much_is_good(
    solaris: Ask, trail: list[Checkpoint]
) -> None:
    done = solaris("audit", "verify")

    assert done.returncode == 0
    since = f"{trail[0].created_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    assert f"the trail is good: 15 rows in 3 checkpoints since {since}" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("locale", "said"),
    [("en", "row 7 (event {}): edited"), ("pt_BR", "linha 7 (evento {}): alterada")],
)
def test_verify_names_the_first_bad_row(
    solaris: Ask, engine: Engine, trail: list[Checkpoint], locale: str, said: str
) -> None:
    do(engine, "UPDATE audit_events SET status = 500 WHERE seq IN (7, 9)")
    with changed(engine) as cursor:
        cursor.execute("SELECT event_id::text FROM audit_events WHERE seq = 7")
        (event_id,) = cursor.fetchone()

    done = solaris("audit", "verify", LOCALE=locale)

    assert (done.returncode, done.stdout) == (1, "")
    assert said.format(event_id) in done.stderr


def test_verify_as_json_is_one_array(solaris: Ask, engine: Engine, trail: list[Checkpoint]) -> None:
    do(engine, "DELETE FROM audit_events WHERE seq = 3")

    done = solaris("audit", "verify", "--json")

    (report,) = json.loads(done.stdout)
    assert (done.returncode, report["good"], report["rows"]) == (1, False, 0)
    assert (report["finding"]["problem"], report["finding"]["seq"]) == ("removed", 3)


def test_verify_without_the_former_key_names_it(solaris: Ask, trail: list[Checkpoint]) -> None:
    done = solaris("audit", "verify", AUDIT_HMAC_KEY_PREVIOUS="")

    assert done.returncode == 1
    assert AuditKey.of(FORMER).id in done.stderr


def test_verify_finds_a_cut_tail_by_this_machines_anchor(
    solaris: Ask, engine: Engine, settings: Settings, trail: list[Checkpoint]
) -> None:
    cut(engine)

    with_anchor = solaris("audit", "verify")
    (settings.server.state_dir / FOLDER / ANCHOR).unlink()
    without = solaris("audit", "verify")

    assert with_anchor.returncode == 1
    assert "row 11: the end of the trail was cut" in with_anchor.stderr
    assert without.returncode == 0
    assert "a cut tail would not show" in without.stderr


def test_verify_finds_a_tail_that_was_cut_and_written_anew(
    solaris: Ask, engine: Engine, trail: list[Checkpoint]
) -> None:
    cut(engine)
    append(engine, 7)

    done = solaris("audit", "verify")

    assert done.returncode == 1
    assert "row 11: the end of the trail was cut or rewritten" in done.stderr


def test_verify_takes_an_anchor_from_elsewhere(
    solaris: Ask, trail: list[Checkpoint], tmp_path: Path
) -> None:
    kept = tmp_path / "kept.json"
    kept.write_bytes(orjson.dumps(anchor_of(trail[1]) | {"hash": "00" * 32}))

    done = solaris("audit", "verify", "--anchor", str(kept))

    assert done.returncode == 1
    assert "row 6:" in done.stderr


@pytest.mark.parametrize(
    "content", [None, b"", b"[]", b'{"id": 1}', b'{"id": "1", "last_seq": 1, "hash": 2}']
)
def test_verify_with_an_anchor_that_is_none_is_refused(
    solaris: Ask, trail: list[Checkpoint], tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "anchor"
    if content is not None:
        path.write_bytes(content)

    done = solaris("audit", "verify", "--anchor", str(path))

    assert (done.returncode, done.stdout) == (2, "")
    assert "is no anchor" in done.stderr


def test_verify_since_a_day_begins_there(solaris: Ask, engine: Engine) -> None:
    append(engine, 5)
    # Signed now, though of a later day: its machine's clock is ahead.
    ahead = datetime.now(UTC) + timedelta(days=3)
    append(engine, 4, ahead)

    done = solaris("audit", "verify", "--json", "--since", f"{ahead:%Y-%m-%d}")

    (report,) = json.loads(done.stdout)
    assert (done.returncode, report["rows"], report["checkpoints"]) == (0, 4, 1)


def test_verify_of_nothing_says_so(solaris: Ask) -> None:
    done = solaris("audit", "verify")

    assert (done.returncode, done.stdout) == (0, "the trail is empty\n")


def test_retain_with_nothing_old_says_so(solaris: Ask, trail: list[Checkpoint]) -> None:
    done = solaris("audit", "retain", "--json")

    assert (done.returncode, done.stdout) == (0, "[]\n")
    assert "nothing to drop" in done.stderr


def test_retain_says_what_it_dropped(solaris: Ask, engine: Engine, settings: Settings) -> None:
    long_ago = datetime(2020, 5, 5, tzinfo=UTC)
    append(engine, 5, long_ago)
    append(engine, 5)
    (settings.server.state_dir / FOLDER).mkdir(parents=True)

    done = solaris("audit", "retain", "--json")
    verified = solaris("audit", "verify")

    (month,) = json.loads(done.stdout)
    assert (month["month"], month["rows"]) == ("2020-05-01", 5)
    assert "month 2020-05 dropped: 5 rows" in done.stderr
    # The anchor is of the event that says so.
    assert (verified.returncode, verified.stderr) == (0, "")
    assert "retention has dropped 5 rows" in verified.stdout


def test_retain_deletes_texts_that_are_older_than_they_may_be(
    solaris: Ask, engine: Engine, trail: list[Checkpoint]
) -> None:
    add = text("""
        INSERT INTO audit_contents (event_id, at, name_id, key_id, prompt, answer)
        SELECT gen_random_uuid(), now() - age * interval '1 day', 1, 'k', '', ''
        FROM unnest(ARRAY[1, 29, 31, 400]) AS age
    """)
    with engine.begin() as connection:
        connection.execute(add)

    done = solaris("audit", "retain", AUDIT_CONTENT_DAYS="30")

    assert "the texts of 2 calls are gone" in done.stderr
    with engine.connect() as connection:
        left = connection.execute(text("SELECT count(*) FROM audit_contents")).scalar_one()
    assert left == 2


def test_retain_of_a_trail_that_is_not_good_ends_with_1(solaris: Ask, engine: Engine) -> None:
    append(engine, 5, datetime(2020, 5, 5, tzinfo=UTC))
    do(engine, "DELETE FROM audit_events WHERE seq = 3")

    done = solaris("audit", "retain")

    assert done.returncode == 1
    assert "row 3: removed" in done.stderr
    assert "nothing dropped" in done.stderr
