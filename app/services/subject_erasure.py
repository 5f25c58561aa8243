"""Erasing a person: the secret that opens what is theirs goes, and a pseudonym takes their place.

Rows of the trail stay as they were signed. What else names the person is renamed or removed, in
one transaction.
"""

from __future__ import annotations

from datetime import datetime

import orjson
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.audit.names import pseudonym
from app.ledger.book import LEASE_MODEL
from app.services.subject_export import Alias, aliases_of, own_keys

NUMBER = text("SELECT id FROM audit_names WHERE kind = 'user' AND value = :person")
KEY_NUMBERS = text("""
    SELECT name, min(id) FROM api_keys WHERE name = ANY(:keys) GROUP BY name
""")
# What is renamed to what: `scope` as budgets have it.
MAKE_RENAMED = text("""
    CREATE TEMPORARY TABLE renamed (scope text, was text, becomes text) ON COMMIT DROP
""")
FILL_RENAMED = text("INSERT INTO renamed VALUES (:scope, :was, :becomes)")
# Entries of a team or a model that is called like the person are not the person's.
BUSY_UNTIL = text("""
    SELECT max(expires_at) FROM holds
    WHERE state = 'pending' AND (user_id = :person OR EXISTS (
      SELECT 1 FROM jsonb_array_elements(entries) AS entry
      JOIN budgets ON budgets.id = (entry ->> 0)::bigint
      JOIN renamed ON renamed.scope = budgets.scope AND renamed.was = entry ->> 1
    ))
""")
RENAME_HOLDS = text("""
    UPDATE holds SET
      user_id = CASE WHEN user_id = :person THEN :pseudonym ELSE user_id END,
      key_id = coalesce(
        (SELECT becomes FROM renamed WHERE scope = 'key' AND was = holds.key_id), key_id),
      entries = fresh.entries,
      -- A lease is called by whose it is.
      request_id = CASE WHEN model = :lease AND fresh.entries <> holds.entries
        THEN 'lease.' || :pseudonym || '.' || gen_random_uuid() ELSE holds.request_id END
    FROM (
      SELECT theirs.request_id, coalesce(jsonb_agg(
        CASE WHEN renamed.becomes IS NULL THEN entry
          ELSE jsonb_set(entry, '{1}', to_jsonb(renamed.becomes)) END
        ORDER BY place) FILTER (WHERE entry IS NOT NULL), '[]') AS entries
      FROM holds AS theirs
      LEFT JOIN LATERAL jsonb_array_elements(theirs.entries) WITH ORDINALITY AS it (entry, place)
        ON true
      LEFT JOIN budgets ON budgets.id = (entry ->> 0)::bigint
      LEFT JOIN renamed ON renamed.scope = budgets.scope AND renamed.was = entry ->> 1
      WHERE user_id = :person OR key_id = ANY(:keys)
        OR entries @> ANY(CAST(:entries AS jsonb[]))
      GROUP BY theirs.request_id
    ) AS fresh
    WHERE holds.request_id = fresh.request_id
""")
# In the order in which the ledger locks them.
LOCK_LINES = text("""
    SELECT line.pending FROM budget_lines AS line JOIN budgets ON budgets.id = line.budget_id
    JOIN renamed ON renamed.scope = budgets.scope AND renamed.was = line.subject
    ORDER BY line.budget_id, line.subject, line.period_start FOR UPDATE OF line
""")
RENAME = (
    text("""
    UPDATE litellm_events SET user_id = :pseudonym WHERE user_id = ANY(:aliases)
      OR user_id = (SELECT email FROM users WHERE id = :person)
"""),
    text("""
    UPDATE budget_lines AS line SET subject = renamed.becomes FROM budgets, renamed
    WHERE budgets.id = line.budget_id AND renamed.scope = budgets.scope
      AND renamed.was = line.subject
"""),
    text("""
    UPDATE budget_raises AS raised SET subject = renamed.becomes, reason = '',
      ended_at = coalesce(ended_at, now()) FROM budgets, renamed
    WHERE budgets.id = raised.budget_id AND renamed.scope = budgets.scope
      AND renamed.was = raised.subject
"""),
    text("""
    UPDATE budgets SET subject = renamed.becomes, is_active = false, updated_at = now()
    FROM renamed WHERE renamed.scope = budgets.scope AND renamed.was = budgets.subject
"""),
    text("""
    UPDATE users SET first_key = renamed.becomes FROM renamed
    WHERE renamed.scope = 'key' AND renamed.was = users.first_key
"""),
    # Workers ask for what has changed, and refuse it from then on.
    text("""
    UPDATE api_keys SET user_id = :pseudonym, name = :pseudonym, updated_at = now(),
      revoked_at = coalesce(revoked_at, now()) WHERE user_id = :person
"""),
    text("""
    UPDATE kill_switches SET subject = renamed.becomes, reason = '',
      lifted_at = coalesce(lifted_at, now()) FROM renamed
    WHERE renamed.scope = kill_switches.scope AND renamed.was = kill_switches.subject
"""),
    text("""
    UPDATE raise_requests SET subject = :pseudonym, reason = '', answer = '',
      state = CASE WHEN state = 'open' THEN 'declined' ELSE state END,
      decided_at = coalesce(decided_at, now()) WHERE subject = :person
"""),
    text("DELETE FROM page_sessions WHERE user_id = :person"),
    text("DELETE FROM sign_in_links WHERE user_id = :person"),
    text("UPDATE legal_holds SET subject = :pseudonym, reason = '' WHERE subject = :person"),
    text("DELETE FROM calls_under_way WHERE person = :person"),
    # Of budgets: whoever was told of them keeps what they got.
    text("""
    DELETE FROM alerts USING renamed
    WHERE facts ->> 'scope' = renamed.scope AND facts ->> 'subject' = renamed.was
"""),
    text("""
    DELETE FROM alert_messages USING renamed
    WHERE (body -> 'facts' ->> 'scope' = renamed.scope
        AND body -> 'facts' ->> 'subject' = renamed.was)
      OR EXISTS (SELECT FROM jsonb_array_elements(body -> 'items') AS item
        WHERE starts_with(item ->> 'subject', renamed.scope || ' ' || renamed.was || ' '))
"""),
    text("DELETE FROM users WHERE id = :person"),
)
FORGET_NAMES = text("""
    UPDATE audit_names SET value = NULL, secret = NULL
    WHERE (kind = 'user' AND value = :person) OR (kind = 'key' AND value = ANY(:keys))
    RETURNING id
""")
FORGET_CONTENTS = text("DELETE FROM audit_contents WHERE name_id = ANY(:names)")


class SubjectBusyError(RuntimeError):
    """Calls of the person are under way, or leases for them; what they hold is settled by
    ``until`` at the latest, if nothing renews it. None: within seconds."""

    def __init__(self, until: datetime | None) -> None:
        self.until = until
        super().__init__()


def erase(session: Session, person: str, alias: Alias) -> str:
    """Erase a person who has a number in `audit_names`; return their pseudonym. Locks what the
    ledger locks, in its order; the caller commits. Raises: SubjectBusyError."""
    renamed = _renamed(session, person)
    new_name = next(new for scope, _, new in renamed if scope == "user")
    values = {
        "person": person,
        "pseudonym": new_name,
        "aliases": aliases_of(person, alias),
        "keys": [was for scope, was, _ in renamed if scope == "key"],
        # What contains, as jsonb, an entry that has the name somewhere.
        "entries": [orjson.dumps([[was]]).decode() for _, was, _ in renamed],
        "lease": LEASE_MODEL,
    }
    if until := session.execute(BUSY_UNTIL, {"person": person}).scalar_one():
        raise SubjectBusyError(until)
    # Holds before lines.
    session.execute(RENAME_HOLDS, values)
    if any(session.execute(LOCK_LINES).scalars()):
        raise SubjectBusyError(None)
    for statement in RENAME:
        session.execute(statement, {it: values[it] for it in statement.compile().params})
    forgotten = session.execute(FORGET_NAMES, {"person": person, "keys": values["keys"]})
    session.execute(FORGET_CONTENTS, {"names": list(forgotten.scalars())})
    return new_name


def _renamed(session: Session, person: str) -> list[tuple[str, str, str]]:
    """Return (scope, old name, new name) of all that is the person's, and note it for SQL."""
    keys = own_keys(session, person)
    new_name = pseudonym(session.execute(NUMBER, {"person": person}).scalar_one())
    numbers = session.execute(KEY_NUMBERS, {"keys": keys}).all()
    renamed = [
        ("user", person, new_name),
        *(("key", name, f"{new_name}-key-{number}") for name, number in numbers),
    ]
    session.execute(MAKE_RENAMED)
    rows = [{"scope": scope, "was": was, "becomes": becomes} for scope, was, becomes in renamed]
    session.execute(FILL_RENAMED, rows)
    return renamed
