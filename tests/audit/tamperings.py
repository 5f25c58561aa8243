"""Ways to tamper with a trail, each at random, and where and how it must be found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from app.audit.chain import AuditKey, Checkpoint, merkle_root
from app.audit.diagnosis import lines_at
from app.audit.findings import Finding
from app.audit.names import commitment
from app.audit.rows import COLUMNS
from app.audit.store import ADD_CHECKPOINT, _checkpoint_row

ROW_COLUMNS = tuple(name for name in (*COLUMNS, "code") if name != "seq")
CHECKPOINT_COLUMNS = (
    "first_seq", "last_seq", "month", "merkle_root", "previous_hash", "key_id", "created_at",
    "last_name", "code",
)  # fmt: skip
COPY_ROW = """
    INSERT INTO audit_events ({columns}, seq, event_id)
    SELECT {columns}, %s, %s FROM audit_events WHERE seq = %s
"""


@dataclass(frozen=True, slots=True)
class Expected:
    problems: tuple[str, ...]
    seq: int
    event_id: str | None = None

    def is_met_by(self, finding: Finding | None) -> bool:
        return (
            finding is not None
            and finding.problem in self.problems
            and finding.seq == self.seq
            and self.event_id in (None, finding.event_id)
        )


@dataclass(frozen=True, slots=True)
class Trail:
    """What can be tampered with, as somebody who owns the tables and has no key."""

    cursor: Any
    checkpoints: Sequence[Checkpoint]
    random: Random

    @property
    def last_seq(self) -> int:
        return self.checkpoints[-1].last_seq

    def seq(self) -> int:
        return self.random.randint(1, self.last_seq)

    def one(self, query: str, *values: object) -> Any:
        self.cursor.execute(query, values)
        return self.cursor.fetchone()[0]

    def do(self, query: str, *values: object) -> None:
        self.cursor.execute(query, values)
        assert self.cursor.rowcount > 0

    def event_id(self, seq: int) -> str:
        return str(self.one("SELECT event_id FROM audit_events WHERE seq = %s", seq))

    def uuid(self) -> str:
        return str(UUID(int=self.random.getrandbits(128), version=4))

    def other(self, value: Any) -> Any:
        """Return a value of the same kind that is not the same."""
        match value:
            case bool() | None:
                return not value if value is not None else 1
            case int():
                return value + self.random.choice([-1, 1, 1000])
            case memoryview():
                at = self.random.randrange(len(value))
                changed = bytearray(value)
                changed[at] ^= 1 << self.random.randrange(8)
                return bytes(changed)
            case datetime():
                return value + self.random.choice([1, -1]) * timedelta(microseconds=1)
            case str():
                at = self.random.randrange(len(value))
                return value[:at] + chr((ord(value[at]) - 31) % 90 + 33) + value[at + 1 :]
        return value + timedelta(days=1)


def edit_a_column(trail: Trail) -> Expected:
    seq, column = trail.seq(), trail.random.choice(ROW_COLUMNS)
    value = trail.one(f"SELECT {column} FROM audit_events WHERE seq = %s", seq)
    changed = trail.uuid() if column in ("event_id", "request_id") else trail.other(value)
    if column == "private" and value is None:
        changed = b"x"
    trail.do(f"UPDATE audit_events SET {column} = %s WHERE seq = %s", changed, seq)
    return Expected(("edited",), seq, trail.event_id(seq))


def delete_rows(trail: Trail) -> Expected:
    seq = trail.seq()
    trail.do("DELETE FROM audit_events WHERE seq BETWEEN %s AND %s", seq, seq + trail.seq() // 10)
    left = trail.one("SELECT max(seq) FROM audit_events")
    return Expected(("removed" if left > seq else "tail_cut",), seq)


def insert_a_row(trail: Trail) -> Expected:
    place = trail.random.choice([trail.seq(), trail.last_seq + trail.seq(), -trail.seq(), 0])
    event_id = trail.uuid()
    columns = ", ".join(name for name in ROW_COLUMNS if name != "event_id")
    trail.do(COPY_ROW.format(columns=columns), place, event_id, trail.seq())
    return Expected(("inserted",), place, event_id)


def swap_two_rows(trail: Trail) -> Expected:
    first, second = sorted(trail.random.sample(range(1, trail.last_seq + 1), 2))
    trail.do(
        "UPDATE audit_events SET seq = %s - seq WHERE seq IN (%s, %s)",
        first + second,
        first,
        second,
    )
    return Expected(("reordered",), first, trail.event_id(first))


def swap_what_two_rows_say(trail: Trail) -> Expected:
    """All but their numbers and codes."""
    first, second = sorted(trail.random.sample(range(1, trail.last_seq + 1), 2))
    trail.do(
        "UPDATE audit_events AS one SET code = other.code FROM audit_events AS other"
        " WHERE one.seq IN (%s, %s) AND other.seq = %s - one.seq",
        first,
        second,
        first + second,
    )
    trail.do(
        "UPDATE audit_events SET seq = %s - seq WHERE seq IN (%s, %s)",
        first + second,
        first,
        second,
    )
    return Expected(("edited",), first, trail.event_id(first))


def renumber_a_row(trail: Trail) -> Expected:
    seq, number = trail.seq(), trail.seq()
    number = trail.random.choice([number, -number, trail.last_seq + number])
    number = trail.last_seq + 1 if number == seq else number
    event_id = trail.event_id(seq)
    trail.do("UPDATE audit_events SET seq = %s WHERE seq = %s", number, seq)
    if number < seq:
        return Expected(("inserted",), number, event_id)
    return Expected(("removed", "tail_cut"), seq)


def cut_the_tail(trail: Trail) -> Expected:
    """With its checkpoints: only the anchor knows that there was more."""
    it = trail.random.choice(trail.checkpoints[:-1])
    trail.do("DELETE FROM audit_events WHERE seq > %s", it.last_seq)
    trail.do("DELETE FROM audit_checkpoints WHERE id > %s", it.id)
    return Expected(("tail_cut",), it.last_seq + 1)


def sign_without_the_key(trail: Trail) -> Expected:
    """Edit a row, and make its code, root and hashes anew, up to the last checkpoint."""
    forger = AuditKey.of(trail.uuid())
    if trail.random.random() < 0.5:
        forger = replace(forger, id=trail.checkpoints[-1].key_id)
    seq = trail.seq()
    trail.do("UPDATE audit_events SET cost_micro_usd = cost_micro_usd + 1 WHERE seq = %s", seq)
    touched = [it for it in trail.checkpoints if it.last_seq >= seq]
    trail.do("DELETE FROM audit_checkpoints WHERE id >= %s", touched[0].id)
    previous = touched[0].previous_hash
    for it in touched:
        rows = [
            lines_at(trail.cursor, number)[0].row for number in range(it.first_seq, it.last_seq + 1)
        ]
        for number, row in enumerate(rows, it.first_seq):
            trail.do(
                "UPDATE audit_events SET code = %s WHERE seq = %s", forger.row_code(row), number
            )
        forged = replace(it, merkle_root=merkle_root(rows), previous_hash=previous).signed(forger)
        trail.do(ADD_CHECKPOINT, *_checkpoint_row(forged))
        previous = forged.hash
    return Expected(("checkpoint_edited", "unknown_key"), touched[0].first_seq)


def edit_a_checkpoint(trail: Trail) -> Expected:
    it, column = trail.random.choice(trail.checkpoints), trail.random.choice(CHECKPOINT_COLUMNS)
    value = trail.one(f"SELECT {column} FROM audit_checkpoints WHERE id = %s", it.id)
    changed = trail.other(value)
    trail.do(f"UPDATE audit_checkpoints SET {column} = %s WHERE id = %s", changed, it.id)
    problem = "unknown_key" if column == "key_id" else "checkpoint_edited"
    return Expected((problem,), it.first_seq, trail.event_id(it.first_seq))


def remove_a_checkpoint(trail: Trail) -> Expected:
    """Or give it another number, before all or behind."""
    it = trail.random.choice(trail.checkpoints)
    if trail.random.random() < 0.5:
        trail.do("DELETE FROM audit_checkpoints WHERE id = %s", it.id)
        return Expected(("checkpoint_removed",), it.first_seq)
    number = trail.random.choice([0, -7, 1000])
    trail.do("UPDATE audit_checkpoints SET id = %s WHERE id = %s", number, it.id)
    first = it.first_seq if number > 0 else 1
    return Expected(("checkpoint_removed", "checkpoint_edited"), first)


def insert_a_checkpoint(trail: Trail) -> Expected:
    it, last = trail.random.choice(trail.checkpoints), trail.checkpoints[-1]
    number = trail.random.choice([0, -7, last.id + 1, last.id + 9])
    trail.do(ADD_CHECKPOINT, *_checkpoint_row(replace(it, id=number)))
    problem = "checkpoint_removed" if number > last.id + 1 else "checkpoint_edited"
    return Expected((problem,), last.last_seq + 1 if number > 0 else 1)


def drop_a_month(trail: Trail) -> Expected:
    it = trail.random.choice(trail.checkpoints)
    trail.do("DELETE FROM audit_events WHERE to_char(at, 'YYYY-MM-01') = %s", it.month)
    first = next(each for each in trail.checkpoints if each.month == it.month)
    return Expected(("removed", "tail_cut"), first.first_seq)


def change_a_name(trail: Trail) -> Expected:
    trail.cursor.execute("SELECT id, kind, value FROM audit_names WHERE value IS NOT NULL")
    names = trail.cursor.fetchall()
    number, kind, value = trail.random.choice([it for it in names if it[2]])
    first = trail.one(
        "SELECT min(seq) FROM audit_events"
        " WHERE %s IN (event, user_id, team_id, key_id, model_id, model_used_id)",
        number,
    )
    problem = trail.random.choice(_NAME_CHANGES)(trail, number, kind, value)
    return Expected((problem,), first, trail.event_id(first))


def _rename(trail: Trail, number: int, _kind: str, value: str) -> str:
    trail.do("UPDATE audit_names SET value = %s WHERE id = %s", f"{value}!", number)
    return "name_changed"


def _commit_to_another(trail: Trail, number: int, kind: str, value: str) -> str:
    secret = trail.random.randbytes(16)
    trail.do(
        "UPDATE audit_names SET value = %s, secret = %s, commitment = %s WHERE id = %s",
        f"{value}!",
        secret,
        commitment(secret, kind, f"{value}!"),
        number,
    )
    return "name_changed"


def _forget_half(trail: Trail, number: int, _kind: str, _value: str) -> str:
    trail.do("UPDATE audit_names SET value = NULL WHERE id = %s", number)
    return "name_changed"


def _remove(trail: Trail, number: int, _kind: str, _value: str) -> str:
    trail.do("DELETE FROM audit_names WHERE id = %s", number)
    return "name_removed"


_NAME_CHANGES = (_rename, _commit_to_another, _forget_half, _remove)

TAMPERINGS: tuple[Callable[[Trail], Expected], ...] = (
    edit_a_column,
    delete_rows,
    insert_a_row,
    swap_two_rows,
    swap_what_two_rows_say,
    renumber_a_row,
    cut_the_tail,
    sign_without_the_key,
    edit_a_checkpoint,
    remove_a_checkpoint,
    insert_a_checkpoint,
    drop_a_month,
    change_a_name,
)
