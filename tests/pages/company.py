"""A company that has used the proxy for a month: what pages have to show."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import httpx2 as httpx
from sqlalchemy import create_engine

from app import create_app
from app.audit.chain import AuditKeys
from app.audit.event import REQUEST, AuditEvent
from app.audit.store import AuditStore
from app.config.settings import Settings
from app.dialects.base import Usage
from app.extensions import db, services_of
from tests.fakes.litellm import FakeLiteLLM, completion, status
from tests.waiting import wait_until

ZONE = ZoneInfo("America/Sao_Paulo")
PEOPLE = {
    "ana": ("Ana Souza", "vendas"),
    "bruno": ("Bruno Lima", "vendas"),
    "carla": ("Carla Dias", "engenharia"),
    "davi": ("Davi Rocha", "engenharia"),
    "elisa": ("Elisa Nunes", "juridico"),
}
TEAMS = {"vendas": "Vendas", "engenharia": "Engenharia", "juridico": "Jurídico"}
MODELS = ("gpt-4o", "claude-sonnet-5-5", "gemini-3.8-flash", "gpt-6-luna")
TRUSTED_KEY_NAME = "librechat"


@dataclass(frozen=True, slots=True)
class Company:
    """What was made; keys are those that can call."""

    trusted_key: str
    notebook_id: int
    anas_budget_id: int
    shadow_budget_id: int
    # As ISO 8601.
    reconciled_day: str


def found(settings: Settings) -> Company:
    """Make people, teams, keys and budgets, and a month of calls on record."""
    app = create_app(settings)
    services = services_of(app)
    for team, name in TEAMS.items():
        services.people.create_team(team, name)
    for person, (name, team) in PEOPLE.items():
        facts = {"name": name, "email": f"{person}@exemplo.com.br", "team": team}
        services.people.create_person(person, facts)
    trusted_key, _ = services.access.create_key(TRUSTED_KEY_NAME, trusted=True)
    _, notebook = services.access.create_key("notebook-carla", user_id="carla")
    services.access.create_key("auditoria", role="auditor")
    budget = services.budgets.create(
        scope="user", subject="*", metric="cost", period="month", limit=20_000_000, mode="enforce"
    )
    services.budgets.create(
        scope="team",
        subject="vendas",
        metric="cost",
        period="month",
        limit=60_000_000,
        mode="enforce",
    )
    shadow = services.budgets.create(
        scope="team", subject="juridico", metric="requests", period="day", limit=2, mode="shadow"
    )
    services.budgets.create(
        scope="user", subject="bruno", metric="cost", period="day", limit=500_000, mode="enforce"
    )
    services.raise_requests.ask(
        "elisa", budget.id, amount=15_000_000, days=7, reason="Revisão dos contratos de fim de ano."
    )
    _remember(settings)
    yesterday = datetime.now(ZONE).date() - timedelta(days=1)
    services.reconciliation.reconcile(yesterday)
    app.background_loop.run(services.close())
    app.background_loop.stop()
    with app.app_context():
        db.engine.dispose()
    return Company(trusted_key, notebook.id, budget.id, shadow.id, yesterday.isoformat())


def work(url: str, company: Company, upstream: FakeLiteLLM) -> None:
    """Call through the proxy: answers, fallbacks, a refusal, and enough errors for an alert."""
    upstream.default = completion(usage=_usage(18_000, 6_000))
    calls = [(person, model) for person in PEOPLE for model in MODELS[:2]]
    calls += [("elisa", "gpt-6-luna")] * 3
    upstream.for_model("gpt-4o", status(500, {"error": {"message": "quebrou", "code": "500"}}))
    for person, model in calls:
        _ask(url, company, person, model)
    for _ in range(12):
        _ask(url, company, "davi", "gpt-4o")
    for _ in range(3):
        # Until the budget has no room any more.
        _ask(url, company, "bruno", "claude-sonnet-5-5")


def _ask(url: str, company: Company, person: str, model: str) -> None:
    body = {
        "model": model,
        "max_tokens": 300,
        "messages": [{"role": "user", "content": "Resuma o contrato em três frases."}],
    }
    headers = {
        "Authorization": f"Bearer {company.trusted_key}",
        "X-Solaris-User-Id": person,
        "User-Agent": "LibreChat/0.8",
    }
    httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=30)


def _usage(read: int, written: int) -> dict[str, Any]:
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
    }


def _remember(settings: Settings) -> None:
    engine = create_engine(settings.database.url)
    keys = AuditKeys(settings.audit.hmac_keys)
    events = list(_past())
    AuditStore(engine, keys.current, ZONE, None, lambda *_: None).append(events)
    engine.dispose()


def _past() -> Iterator[AuditEvent]:
    """Yield a month of calls, fewer at weekends and at night; always the same ones."""
    chance = random.Random(7)
    now = datetime.now(UTC)
    for days_ago in range(32, -1, -1):
        day = now - timedelta(days=days_ago)
        busy = 4 if day.astimezone(ZONE).weekday() >= 5 else 22
        for _ in range(busy + chance.randrange(12)):
            hours_ago = chance.uniform(0.5, 23)
            yield _call(chance, day - timedelta(hours=hours_ago))


def _call(chance: random.Random, at: datetime) -> AuditEvent:
    person = chance.choice(list(PEOPLE))
    model = chance.choice(MODELS)
    read, written = chance.randrange(400, 9_000), chance.randrange(100, 2_500)
    failed = chance.random() < 0.05
    return AuditEvent(
        event_id=str(uuid4()),
        at=at,
        event=REQUEST,
        user=person,
        team=PEOPLE[person][1],
        key=TRUSTED_KEY_NAME,
        model=model,
        model_used=model,
        status=502 if failed else 200,
        usage=None if failed else Usage(read, written),
        cost_micro_usd=0 if failed else read * 5 + written * 15,
        latency_ms=chance.randrange(600, 9_000),
        first_byte_ms=chance.randrange(200, 900),
        detail={"reason": "upstream_error"} if failed else {},
    )


__all__ = ["PEOPLE", "Company", "found", "wait_until", "work"]
