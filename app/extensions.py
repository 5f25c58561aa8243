"""The service singletons, bound to an application by `init_app`.

A module-level name such as `litellm` is a proxy: it stands for the service of the application
whose context is active, so that two applications can live in one process. Nothing opens a
connection here.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast
from zoneinfo import ZoneInfo

from flask import Flask, current_app
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from werkzeug.local import LocalProxy

from app.alerting.outbox import Outbox
from app.alerting.rules import SPOOL_AGAIN_S, SPOOL_GROWING_BYTES
from app.alerting.store import observe
from app.audit.anchor import FOLDER
from app.audit.backlog import Backlog
from app.audit.chain import AuditKeys
from app.audit.content import ContentKeys, ContentStore
from app.audit.shipper import AuditShipper
from app.audit.spool import Spool
from app.audit.store import AuditStore
from app.config.alert_words import AlertWords
from app.config.catalog import Catalog, load_catalog
from app.config.messages import detail_for, message_for
from app.config.quota_messages import Shortage, quota_message
from app.config.settings import PROJECT_ROOT, Settings
from app.events.shipper import EventShipper
from app.events.store import EventStore
from app.ledger.lease import LeaseBook
from app.ledger.slot_store import SlotStore
from app.ledger.store import LedgerStore
from app.metrics.counts import CallCounter
from app.metrics.figures import FigureReader
from app.metrics.instruments import Instruments
from app.metrics.shared_files import BASELINE
from app.models import Base
from app.services.access_service import AccessService
from app.services.actions import RecordAction
from app.services.alert_delivery import AlertDelivery
from app.services.alert_service import AlertService
from app.services.alerts.configured import configured_channels
from app.services.audit_reader import AuditReader
from app.services.audit_service import AuditService
from app.services.budget_service import BudgetService
from app.services.call_slots import CallSlots
from app.services.event_effects import EventEffects
from app.services.event_service import EventService
from app.services.fallback_simulation import FallbackSimulation
from app.services.health_service import HealthService
from app.services.key_cache import KeyCache
from app.services.key_store import KeyStore
from app.services.kill_switch_service import KillSwitchService
from app.services.kill_switch_store import KillSwitchStore
from app.services.kill_switches import KillSwitches
from app.services.lease_journal import LeaseJournal
from app.services.leases import Leases
from app.services.litellm_gateway import LiteLLMGateway
from app.services.litellm_service import LiteLLMService
from app.services.litellm_transport import LiteLLMTransport
from app.services.metrics_service import MetricsService
from app.services.overview_service import OverviewService
from app.services.page_session_service import PageSessionService
from app.services.page_session_store import PageSessionStore
from app.services.people_service import PeopleService
from app.services.people_store import PeopleStore
from app.services.raise_request_service import RaiseRequestService
from app.services.raise_request_store import RaiseRequestStore
from app.services.raise_service import RaiseService
from app.services.readiness_service import ReadinessService
from app.services.reconciliation_service import ReconciliationService
from app.services.redis_link import RedisLink
from app.services.request_story import RequestStories
from app.services.shared_health import SharedHealth
from app.services.short_windows import ShortWindows
from app.services.slot_boards import PostgresSlots, RedisSlots
from app.services.subject_service import SubjectService, owner_engine
from app.services.token_service import TokenService
from app.services.tracing import Tracing
from app.services.trail_verification import TrailVerification
from app.utils.clock import Clock, SystemClock
from app.utils.exceptions import InsufficientQuotaError, SolarisError, TooManyRequestsError
from app.utils.pseudonyms import stand_in

if TYPE_CHECKING:
    from sqlalchemy import Engine

EXTENSION_KEY = "solaris"

db = SQLAlchemy(model_class=Base)
migrate = Migrate(directory=str(PROJECT_ROOT / "database" / "migrations"))


@dataclass(frozen=True, slots=True)
class Services:
    """What one application works with."""

    settings: Settings
    catalog: Catalog
    access: AccessService
    people: PeopleService
    health: HealthService
    tokens: TokenService
    switches: KillSwitches
    budgets: BudgetService
    raises: RaiseService
    kill_switch: KillSwitchService
    subjects: SubjectService
    litellm: LiteLLMService
    simulation: FallbackSimulation
    metrics: MetricsService
    tracing: Tracing
    audit: AuditService
    audit_reader: AuditReader
    trail_verification: TrailVerification
    events: EventService
    readiness: ReadinessService
    alert_outbox: Outbox
    alert_delivery: AlertDelivery
    alerts: AlertService
    reconciliation: ReconciliationService
    raise_requests: RaiseRequestService
    page_sessions: PageSessionService
    overview: OverviewService
    stories: RequestStories
    # None without Redis.
    shared_health: SharedHealth | None
    redis: RedisLink | None

    async def open(self) -> None:
        """Start what runs beside requests; called on the loop when a worker starts."""
        await self.audit.open()
        await self.events.open()
        await self.access.open()
        await self.people.open()
        await self.tokens.open()
        await self.switches.open()
        await self.litellm.open()
        await self.alerts.open()
        await self.alert_delivery.open()
        await self.reconciliation.open()
        await self.metrics.open()
        if self.shared_health is not None:
            await self.shared_health.open(self.health)

    async def close(self) -> None:
        if self.shared_health is not None:
            await self.shared_health.close()
        await self.metrics.close()
        await self.reconciliation.close()
        await self.access.close()
        await self.switches.close()
        await self.litellm.close()
        await self.people.close()
        # Last: what the others give up is still to be settled.
        await self.tokens.close()
        await asyncio.to_thread(self.budgets.close)
        await asyncio.to_thread(self.tracing.close)
        await self.alerts.close()
        await self.alert_delivery.close()
        await self.events.close()
        await self.audit.close()
        if self.redis is not None:
            await self.redis.close()


def describe(error: SolarisError, locale: str) -> str:
    """Return the sentence that a person reads about ``error``."""
    values = error.values
    if isinstance(error, InsufficientQuotaError | TooManyRequestsError) and values:
        return quota_message(locale, cast("Shortage", values))
    if (detail := getattr(error, "detail", None)) and error.code == "invalid_request_error":
        return message_for(error.code, locale, detail=detail_for(detail, locale, **values))
    return message_for(error.sentence or error.code, locale, **values)


def init_app(app: Flask, settings: Settings) -> Services:
    """Bind the singletons to ``app``."""
    app.config.update(
        SQLALCHEMY_DATABASE_URI=settings.database.url,
        SQLALCHEMY_ENGINE_OPTIONS=engine_options(),
    )
    db.init_app(app)
    migrate.init_app(app, db)
    with app.app_context():
        services = build_services(settings, db.engine)
    app.extensions[EXTENSION_KEY] = services
    return services


def engine_options() -> dict[str, object]:
    return {
        "pool_pre_ping": True,
        "pool_size": 5,
        # Statements fail rather than hang, and never put their values into an error.
        "connect_args": {
            "connect_timeout": 3,
            "options": "-c statement_timeout=10000",
            # A machine that is gone says nothing either.
            "tcp_user_timeout": 10_000,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
        },
        "hide_parameters": True,
    }


def build_services(settings: Settings, engine: Engine) -> Services:
    clock = SystemClock()
    catalog = load_catalog(settings.litellm.config_path)
    store = KeyStore(engine)
    audit_service = _audit(settings, engine, clock)
    record = audit_service.record_action
    redis = RedisLink(settings.redis.url, clock) if settings.redis.url else None
    shared = SharedHealth(redis, catalog.models, clock) if redis else None
    health = HealthService(catalog.health, clock, shared, audit_service.log_breaker)
    tokens_service = TokenService(
        settings.budgets,
        catalog,
        LedgerStore(engine),
        LedgerStore(engine),
        clock,
        ShortWindows(redis, settings.server.workers, clock) if redis else None,
        CallSlots(
            RedisSlots(redis) if redis else PostgresSlots(SlotStore(engine), clock),
            settings.budgets.user_concurrency,
            settings.server.workers,
        ),
        _leases(settings, clock) if settings.budgets.mode == "lenient" else None,
    )
    state_dir = settings.server.state_dir
    instruments = Instruments(catalog.models)
    shared_folder = instruments.shared_folder()
    audit_service.on_call = instruments.count_call
    tokens_service.watch_batches(instruments.batches.observe)
    switch_store = KillSwitchStore(engine)
    switches = KillSwitches(switch_store, clock)
    litellm_service = LiteLLMService(
        settings,
        catalog,
        LiteLLMGateway(LiteLLMTransport(settings.litellm), health, settings.litellm),
        health,
        tokens_service,
        switches,
        CallCounter(instruments, shared_folder / BASELINE if shared_folder else None),
        clock,
        lambda error: describe(error, settings.locale),
        record,
    )
    tokens_service.on_expired = audit_service.record_lost
    budget_service = BudgetService(settings.budgets, catalog, LedgerStore(engine), clock, record)
    raise_service = RaiseService(LedgerStore(engine), budget_service, clock, record)
    raise_requests_service = RaiseRequestService(
        RaiseRequestStore(engine), budget_service, raise_service, clock, record
    )
    kill_switch_service = KillSwitchService(switch_store, catalog, clock, record)
    alerts_parts = _alerts(settings, engine, clock, record)
    access_service = AccessService(
        store, KeyCache(store, clock), settings.security, clock, record, catalog.__contains__
    )
    reader = AuditReader(
        engine,
        AuditKeys(settings.audit.hmac_keys),
        catalog,
        budget_service.rules,
        ZoneInfo(settings.budgets.timezone),
        clock,
    )
    return Services(
        settings,
        catalog,
        access_service,
        PeopleService(PeopleStore(engine), clock, record),
        health,
        tokens_service,
        switches,
        budget_service,
        raise_service,
        kill_switch_service,
        _subjects(settings, clock),
        litellm_service,
        FallbackSimulation(
            catalog,
            health,
            switches,
            PeopleStore(engine),
            LedgerStore(engine),
            ZoneInfo(settings.budgets.timezone),
            clock,
            lambda error: describe(error, settings.locale),
        ),
        MetricsService(
            instruments,
            FigureReader(LedgerStore(engine), ZoneInfo(settings.budgets.timezone), clock),
            {name: state_dir / name for name in ("audit", "events")},
            catalog,
            health,
            clock,
        ),
        _tracing(settings),
        audit_service,
        reader,
        TrailVerification(
            engine,
            AuditKeys(settings.audit.hmac_keys),
            settings.server.state_dir / FOLDER,
            clock,
            record,
        ),
        _events(settings, engine, catalog, audit_service, clock),
        ReadinessService(store, litellm_service, redis, state_dir, clock),
        *alerts_parts,
        _reconciliation(settings, engine, catalog, clock),
        raise_requests_service,
        PageSessionService(
            PageSessionStore(engine), access_service, settings.security.secret_key, clock, record
        ),
        OverviewService(
            reader,
            budget_service,
            raise_requests_service,
            alerts_parts[-1],
            kill_switch_service,
            catalog,
            health,
            clock,
        ),
        RequestStories(reader, budget_service),
        shared,
        redis,
    )


def _tracing(settings: Settings) -> Tracing:
    if not settings.server.is_traced:
        return Tracing()
    # Of an extra: whoever does not trace need not have it.
    from app.services.otel_tracing import OtelTracing

    return OtelTracing()


def _audit(settings: Settings, engine: Engine, clock: Clock) -> AuditService:
    folder = settings.server.state_dir / "audit"
    spool = Spool(folder, settings.audit.spool_max_bytes, secrets.token_hex(6))
    keys, zone = AuditKeys(settings.audit.hmac_keys), ZoneInfo(settings.budgets.timezone)
    contents = ContentStore(engine, keys) if settings.audit.keeps_content else None
    append = AuditStore(engine, keys.current, zone, contents, observe).append
    shipper = AuditShipper(spool, append, folder)
    service = AuditService(
        spool,
        shipper,
        append,
        clock,
        is_strict=settings.budgets.mode == "strict",
        contents=contents.keys if contents else None,
    )
    backlog = Backlog(SPOOL_GROWING_BYTES, SPOOL_AGAIN_S, clock, service.log_waiting)
    shipper.on_waiting = backlog.note
    return service


def _events(
    settings: Settings, engine: Engine, catalog: Catalog, audit: AuditService, clock: Clock
) -> EventService:
    folder = settings.server.state_dir / "events"
    spool = Spool(folder, settings.audit.spool_max_bytes, secrets.token_hex(6))
    effects = EventEffects(audit, catalog.__contains__)
    days = settings.events.retention_days
    return EventService(
        spool,
        EventShipper(spool, folder, EventStore(engine), effects.apply, clock, days),
        audit,
        settings.security.webhook_secrets,
        clock,
        takes_unsigned=not settings.is_production,
    )


def _reconciliation(
    settings: Settings, engine: Engine, catalog: Catalog, clock: Clock
) -> ReconciliationService:
    zone = ZoneInfo(settings.budgets.timezone)
    key = AuditKeys(settings.audit.hmac_keys).current
    trail = AuditStore(engine, key, zone, observe=observe)
    return ReconciliationService(engine, LedgerStore(engine), trail, catalog, zone, clock)


def _subjects(settings: Settings, clock: Clock) -> SubjectService:
    engine = owner_engine(settings.database.migration_url)
    keys = AuditKeys(settings.audit.hmac_keys)
    trail = AuditStore(engine, keys.current, ZoneInfo(settings.budgets.timezone))
    folder = settings.server.state_dir / "audit"
    alias = partial(stand_in, settings.security.secret_key)
    return SubjectService(engine, trail, ContentKeys(keys), clock, folder, alias)


def _alerts(
    settings: Settings, engine: Engine, clock: Clock, record: RecordAction
) -> tuple[Outbox, AlertDelivery, AlertService]:
    zone = ZoneInfo(settings.budgets.timezone)
    words = AlertWords(settings.locale, zone)
    key = settings.security.secret_key
    channels = configured_channels(settings.alerts, words, clock, key)
    outbox = Outbox(engine, [it.target for it in channels], clock)
    service = AlertService(engine, outbox, clock, zone, settings.alerts.quiet_hours, record)
    return outbox, AlertDelivery(outbox, channels, clock, record), service


def _leases(settings: Settings, clock: Clock) -> Leases:
    # Of this process alone, and of no later one.
    name = secrets.token_hex(6)
    return Leases(
        LeaseBook(name, settings.server.workers),
        LeaseJournal(settings.server.state_dir / "leases", name),
        clock,
    )


def services_of(app: Flask) -> Services:
    return cast("Services", app.extensions[EXTENSION_KEY])


def _current() -> Services:
    return cast("Services", current_app.extensions[EXTENSION_KEY])


settings = cast("Settings", LocalProxy(lambda: _current().settings))
catalog = cast("Catalog", LocalProxy(lambda: _current().catalog))
access = cast("AccessService", LocalProxy(lambda: _current().access))
people = cast("PeopleService", LocalProxy(lambda: _current().people))
budgets = cast("BudgetService", LocalProxy(lambda: _current().budgets))
raises = cast("RaiseService", LocalProxy(lambda: _current().raises))
raise_requests = cast("RaiseRequestService", LocalProxy(lambda: _current().raise_requests))
page_sessions = cast("PageSessionService", LocalProxy(lambda: _current().page_sessions))
overview = cast("OverviewService", LocalProxy(lambda: _current().overview))
stories = cast("RequestStories", LocalProxy(lambda: _current().stories))
kill_switch = cast("KillSwitchService", LocalProxy(lambda: _current().kill_switch))
subjects = cast("SubjectService", LocalProxy(lambda: _current().subjects))
tokens = cast("TokenService", LocalProxy(lambda: _current().tokens))
litellm = cast("LiteLLMService", LocalProxy(lambda: _current().litellm))
simulation = cast("FallbackSimulation", LocalProxy(lambda: _current().simulation))
metrics = cast("MetricsService", LocalProxy(lambda: _current().metrics))
tracing = cast("Tracing", LocalProxy(lambda: _current().tracing))
audit = cast("AuditService", LocalProxy(lambda: _current().audit))
events = cast("EventService", LocalProxy(lambda: _current().events))
audit_reader = cast("AuditReader", LocalProxy(lambda: _current().audit_reader))
trail_verification = cast("TrailVerification", LocalProxy(lambda: _current().trail_verification))
alert_outbox = cast("Outbox", LocalProxy(lambda: _current().alert_outbox))
alert_delivery = cast("AlertDelivery", LocalProxy(lambda: _current().alert_delivery))
alerts = cast("AlertService", LocalProxy(lambda: _current().alerts))
reconciliation = cast("ReconciliationService", LocalProxy(lambda: _current().reconciliation))
readiness = cast("ReadinessService", LocalProxy(lambda: _current().readiness))
