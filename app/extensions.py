"""The service singletons, bound to an application by `init_app`.

A module-level name such as `litellm` is a proxy: it stands for the service of the application
whose context is active, so that two applications can live in one process. Nothing opens a
connection here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from flask import Flask, current_app
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from werkzeug.local import LocalProxy

from app.config.catalog import Catalog, load_catalog
from app.config.messages import detail_for, message_for
from app.config.settings import PROJECT_ROOT, Settings
from app.models import Base
from app.services.access_service import AccessService
from app.services.health_service import HealthService
from app.services.key_cache import KeyCache
from app.services.key_store import KeyStore
from app.services.litellm_service import LiteLLMService
from app.services.litellm_transport import LiteLLMTransport
from app.services.readiness_service import ReadinessService
from app.utils.clock import SystemClock
from app.utils.error_body import sse_event
from app.utils.exceptions import SolarisError

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
    litellm: LiteLLMService
    readiness: ReadinessService

    async def open(self) -> None:
        """Start what runs beside requests; called on the loop when a worker starts."""
        await self.access.open()

    async def close(self) -> None:
        await self.access.close()
        await self.litellm.close()

    def describe(self, error: SolarisError) -> str:
        """Return the sentence that a person reads about ``error``, in the configured language."""
        locale, values = self.settings.locale, error.values
        if (detail := getattr(error, "detail", None)) and error.code == "invalid_request_error":
            return message_for(error.code, locale, detail=detail_for(detail, locale, **values))
        return message_for(error.code, locale, **values)


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
        "connect_args": {"connect_timeout": 3, "options": "-c statement_timeout=10000"},
        "hide_parameters": True,
    }


def build_services(settings: Settings, engine: Engine) -> Services:
    clock = SystemClock()
    catalog = load_catalog(settings.litellm.config_path)
    store = KeyStore(engine)
    access = AccessService(store, KeyCache(store, clock), settings.security, clock)

    def render_error(error: SolarisError) -> bytes:
        return sse_event(error, services.describe(error))

    litellm_service = LiteLLMService(
        settings,
        catalog,
        LiteLLMTransport(settings.litellm),
        HealthService(clock),
        clock,
        render_error,
    )
    readiness_service = ReadinessService(store, litellm_service, settings.server.state_dir, clock)
    services = Services(settings, catalog, access, litellm_service, readiness_service)
    return services


def services_of(app: Flask) -> Services:
    return cast("Services", app.extensions[EXTENSION_KEY])


def _current() -> Services:
    return cast("Services", current_app.extensions[EXTENSION_KEY])


settings = cast("Settings", LocalProxy(lambda: _current().settings))
catalog = cast("Catalog", LocalProxy(lambda: _current().catalog))
access = cast("AccessService", LocalProxy(lambda: _current().access))
litellm = cast("LiteLLMService", LocalProxy(lambda: _current().litellm))
readiness = cast("ReadinessService", LocalProxy(lambda: _current().readiness))
