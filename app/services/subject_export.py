"""Everything that is kept about one person, and nothing of others (LGPD art. 18, II and V)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.audit.chain import UnknownAuditKeyError
from app.audit.content import ContentKeys, StoredContent, UnreadableContentError
from app.audit.names import ErasedError, Name
from app.audit.rows import private_of

IS_KNOWN = text("""
    SELECT EXISTS (SELECT 1 FROM users WHERE id = :person)
      OR EXISTS (SELECT 1 FROM api_keys WHERE user_id = :person)
      OR EXISTS (SELECT 1 FROM audit_names WHERE kind = 'user' AND value = :person)
      OR EXISTS (SELECT 1 FROM budgets WHERE scope = 'user' AND subject = :person)
      OR EXISTS (SELECT 1 FROM budget_lines AS line JOIN budgets ON budgets.id = line.budget_id
                 WHERE scope = 'user' AND line.subject = :person)
      OR EXISTS (SELECT 1 FROM holds WHERE user_id = :person)
      OR EXISTS (SELECT 1 FROM litellm_events WHERE user_id = ANY(:aliases))
""")
# A name that somebody else's key has, too, is not this person's alone.
OWN_KEYS = text("""
    SELECT name FROM api_keys GROUP BY name
    HAVING bool_and(user_id IS NOT DISTINCT FROM :person) ORDER BY name
""")
OTHERS_KEYS = text("SELECT DISTINCT name FROM api_keys WHERE user_id <> :person")
NAMES = text("""
    SELECT id, kind, value, secret, commitment FROM audit_names
    WHERE (kind = 'user' AND value = :person) OR (kind = 'key' AND value = ANY(:keys))
""")
PERSON = text("""
    SELECT id, name, email, role, team_id AS team, first_key AS key, created_at, first_seen_at,
      last_seen_at FROM users WHERE id = :person
""")
KEYS = text("""
    SELECT name, prefix, team_id AS team, role, trusted, allowed_models, created_at, expires_at,
      revoked_at FROM api_keys WHERE user_id = :person ORDER BY id
""")
BUDGETS = text("""
    SELECT scope, subject, metric, period, mode, limit_amount AS limit, is_active FROM budgets
    WHERE (scope = 'user' AND subject = :person) OR (scope = 'key' AND subject = ANY(:keys))
    ORDER BY id
""")
LINES = text("""
    SELECT scope, line.subject, metric, period, period_start, posted, pending, would_refuse,
      credited
    FROM budget_lines AS line JOIN budgets ON budgets.id = line.budget_id
    WHERE (scope = 'user' AND line.subject = :person)
      OR (scope = 'key' AND line.subject = ANY(:keys))
    ORDER BY period_start, budgets.id
""")
# Of raises, kill switches and legal holds: why, and who said so, may be about others.
RAISES = text("""
    SELECT scope, raised.subject, metric, period, amount, raised.created_at, expires_at, ended_at
    FROM budget_raises AS raised JOIN budgets ON budgets.id = raised.budget_id
    WHERE (scope = 'user' AND raised.subject = :person)
      OR (scope = 'key' AND raised.subject = ANY(:keys))
    ORDER BY raised.id
""")
RAISE_REQUESTS = text("""
    SELECT metric, period, amount, days, reason, state, asked.created_at, decided_at, answer
    FROM raise_requests AS asked JOIN budgets ON budgets.id = budget_id
    WHERE asked.subject = :person ORDER BY asked.id
""")
PAGE_SESSIONS = text("""
    SELECT created_at, expires_at FROM page_sessions WHERE user_id = :person ORDER BY created_at
""")
KILL_SWITCHES = text("""
    SELECT thrown_at, expires_at, lifted_at FROM kill_switches
    WHERE scope = 'user' AND subject = :person ORDER BY id
""")
HOLDS = text("""
    SELECT request_id, state, model, team_id AS team, key_id AS key, held, posted, is_estimated,
      credited, created_at FROM holds
    WHERE user_id = :person OR (user_id IS NULL AND key_id = ANY(:keys)) ORDER BY created_at
""")
CALLS = text("SELECT calls FROM calls_under_way WHERE person = :person")
LEGAL_HOLDS = text(
    "SELECT set_at, lifted_at FROM legal_holds WHERE subject = :person ORDER BY set_at"
)
USAGE = text("""
    SELECT day, team.value AS team, key.value AS key, model.value AS model, requests, failed,
      estimated, input_tokens, output_tokens, cost_micro_usd
    FROM usage_days AS usage
    LEFT JOIN audit_names AS team ON team.id = usage.team_id
    LEFT JOIN audit_names AS key ON key.id = usage.key_id
    LEFT JOIN audit_names AS model ON model.id = usage.model_id
    WHERE user_id = ANY(:users) OR (user_id = 0 AND usage.key_id = ANY(:key_numbers))
    ORDER BY day, team, key, model
""")
EVENTS = text("""
    SELECT event_id::text, request_id::text, at, kind.value AS event, team.value AS team,
      key.value AS key, asked.value AS model, used.value AS model_used, status, input_tokens,
      output_tokens, cost_micro_usd, latency_ms, first_byte_ms, is_estimated, private, detail,
      coalesce(user_id, event.key_id) AS owner
    FROM audit_events AS event
    JOIN audit_names AS kind ON kind.id = event.event
    LEFT JOIN audit_names AS team ON team.id = event.team_id
    LEFT JOIN audit_names AS key ON key.id = event.key_id
    LEFT JOIN audit_names AS asked ON asked.id = event.model_id
    LEFT JOIN audit_names AS used ON used.id = event.model_used_id
    WHERE user_id = ANY(:users) OR (user_id IS NULL AND event.key_id = ANY(:key_numbers))
    ORDER BY seq
""")
CONTENTS = text("""
    SELECT event_id::text, at, name_id, key_id, prompt, answer FROM audit_contents
    WHERE name_id = ANY(:owners) ORDER BY at
""")
# LiteLLM knows people of ours by a pseudonym, and those who call it directly by what they say.
LITELLM_EVENTS = text("""
    SELECT id, event_type, at, received_at, request_id, user_id, model, model_used, provider,
      status, input_tokens, output_tokens, cost_micro_usd, response_time_ms, is_cached, detail
    FROM litellm_events WHERE user_id = ANY(:aliases)
      OR user_id = (SELECT email FROM users WHERE id = :person)
    ORDER BY at, id
""")
# Who did something to the person's data is somebody else.
ABOUT_OTHERS = frozenset({"by"})

# Makes of a person's id what LiteLLM and providers see in its place.
Alias = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class _Subject:
    """Whom the rows are looked for by."""

    person: str
    keys: list[str]
    names: Mapping[int, Name]
    others_keys: frozenset[str]
    aliases: list[str]

    def values(self) -> dict[str, Any]:
        numbers = {
            kind: [it.id for it in self.names.values() if it.kind == kind]
            for kind in ("user", "key")
        }
        return {
            "person": self.person,
            "keys": self.keys,
            "aliases": self.aliases,
            "users": numbers["user"],
            "key_numbers": numbers["key"],
            "owners": list(self.names),
        }


def is_known(session: Session, person: str, alias: Alias) -> bool:
    values = {"person": person, "aliases": aliases_of(person, alias)}
    return bool(session.execute(IS_KNOWN, values).scalar_one())


def aliases_of(person: str, alias: Alias) -> list[str]:
    """Return what LiteLLM may know a person by."""
    return [person, alias(person)]


def own_keys(session: Session, person: str) -> list[str]:
    """Return the names of keys that are the person's and nobody else's."""
    return list(session.execute(OWN_KEYS, {"person": person}).scalars())


def export(session: Session, person: str, contents: ContentKeys, alias: Alias) -> dict[str, Any]:
    """Return what goes to the person; times in UTC, money in micro-USD."""
    subject = _subject(session, person, alias)
    found = {
        name: list(_rows(session, query, subject))
        for name, query in (
            ("person", PERSON),
            ("keys", KEYS),
            ("budgets", BUDGETS),
            ("budget_lines", LINES),
            ("budget_raises", RAISES),
            ("raise_requests", RAISE_REQUESTS),
            ("page_sessions", PAGE_SESSIONS),
            ("holds", HOLDS),
            ("calls_under_way", CALLS),
            ("kill_switches", KILL_SWITCHES),
            ("legal_holds", LEGAL_HOLDS),
            ("usage", USAGE),
            ("events", EVENTS),
            ("contents", CONTENTS),
            ("litellm_events", LITELLM_EVENTS),
        )
    }
    found["events"] = [_event(row, subject.names) for row in found["events"]]
    found["contents"] = [_content(row, subject.names, contents) for row in found["contents"]]
    return {"subject": person, **found}


def _subject(session: Session, person: str, alias: Alias) -> _Subject:
    keys = own_keys(session, person)
    rows = session.execute(NAMES, {"person": person, "keys": keys})
    names = {
        row.id: Name(row.id, row.kind, row.value, bytes(row.secret), bytes(row.commitment))
        for row in rows
    }
    others = session.execute(OTHERS_KEYS, {"person": person}).scalars()
    others_keys = frozenset(others) - set(keys)
    return _Subject(person, keys, names, others_keys, aliases_of(person, alias))


def _rows(session: Session, query: Any, subject: _Subject) -> Iterator[dict[str, Any]]:
    values = {name: subject.values()[name] for name in query.compile().params}
    for row in session.execute(query, values).mappings():
        facts = dict(row)
        if facts.get("key") in subject.others_keys:
            facts["key"] = None
        yield facts


def _event(row: dict[str, Any], names: Mapping[int, Name]) -> dict[str, Any]:
    owner, private = names[row.pop("owner")], row["private"]
    if private is not None:
        row["private"] = _opened(private, row["event_id"], owner)
    detail = orjson.loads(row["detail"]) if row["detail"] else {}
    row["detail"] = {name: it for name, it in detail.items() if name not in ABOUT_OTHERS}
    return row


def _opened(private: Sequence[int], event_id: str, owner: Name) -> dict[str, Any] | None:
    """Return the private part; None, where it was changed in the database."""
    try:
        return private_of(bytes(private), UUID(event_id), owner)
    except (ErasedError, InvalidTag):
        return None


def _content(row: dict[str, Any], names: Mapping[int, Name], keys: ContentKeys) -> dict[str, Any]:
    owner = names[row.pop("name_id")]
    stored = StoredContent(row.pop("key_id"), bytes(row.pop("prompt")), bytes(row.pop("answer")))
    try:
        content = keys.decrypt(UUID(row["event_id"]), owner, stored)
    except (ErasedError, UnknownAuditKeyError, UnreadableContentError) as fault:
        return row | {"unreadable": type(fault).__name__}
    return row | {"prompt": content.prompt, "answer": content.answer}
