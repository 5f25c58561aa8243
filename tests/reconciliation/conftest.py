"""What tests of reconciliation share with those of the trail, and the service itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from app.audit.store import AuditStore
from app.config.catalog import load_catalog
from app.config.settings import LiteLLMSettings
from app.ledger.store import LedgerStore
from app.services.reconciliation_service import ReconciliationService
from app.utils.actor import actor_var
from tests.audit.conftest import ask, engine, same_log, store
from tests.audit.trails import ZONE
from tests.fakes.clock import FakeClock
from tests.reconciliation.days import Day

__all__ = ["ask", "engine", "same_log", "store"]


@pytest.fixture
def ledger(engine: Engine) -> Iterator[LedgerStore]:
    store = LedgerStore(engine)
    yield store
    store.close()


@pytest.fixture
def clock() -> FakeClock:
    """It is noon of the day after, in UTC."""
    return FakeClock()


@pytest.fixture
def service(engine: Engine, store: AuditStore, clock: FakeClock) -> Iterator[ReconciliationService]:
    ledger = LedgerStore(engine)
    catalog = load_catalog(LiteLLMSettings().config_path)
    yield ReconciliationService(engine, ledger, store, catalog, ZONE, clock)
    ledger.close()


@pytest.fixture
def day(engine: Engine, store: AuditStore, ledger: LedgerStore) -> Day:
    return Day(engine, store, ledger)


@pytest.fixture(autouse=True)
def nobody_in_particular() -> Iterator[None]:
    """Acts here; a command in this process leaves its name behind."""
    token = actor_var.set("system")
    yield
    actor_var.reset(token)
