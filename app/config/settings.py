"""Typed settings, read once from the environment.

Every variable of the product is read here and nowhere else; `.env.example` and
`docs/configuration.md` list the same names, and a test keeps the three equal.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from app.config.environment import Environment
from app.config.errors import ConfigurationError
from app.config.problems import DEFAULT_LOCALE, LOCALES, Problem
from app.config.quiet_hours import QuietHours

PROJECT_ROOT = Path(__file__).resolve().parents[2]

MAX_BODY_BYTES = 50 * 1024 * 1024
MAX_CONCURRENT_REQUESTS = 2048
MAX_BUFFERED_BODY_BYTES = 512 * 1024 * 1024

MINIMUM_SECRET_LENGTH = 16
DEVELOPMENT_SECRET_KEY = "development-only-secret-key"  # noqa: S105  # refused in production
DEVELOPMENT_MASTER_KEY = "sk-development-only-master-key"
# Values that examples and tutorials print; refused in production whatever their length.
PUBLICLY_KNOWN_SECRETS = frozenset(
    {
        "sk-1234",
        "changeme",
        "change-me",
        "password",
        "postgres",
        "secret",
        DEVELOPMENT_SECRET_KEY,
        DEVELOPMENT_MASTER_KEY,
    }
)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    host: str = "127.0.0.1"
    port: int = 5000
    workers: int = 2
    drain_grace_s: int = 30
    # Whose X-Forwarded-Proto and kin are believed: nginx's addresses.
    forwarded_allow_ips: str = "127.0.0.1,::1"
    # Networks that may read /metrics without a key; none of them by itself.
    metrics_allow: str = ""
    # Whether calls are traced; where to, OpenTelemetry's SDK reads itself.
    is_traced: bool = False
    # Where workers of one machine leave what others must find, and what must outlive them.
    state_dir: Path = PROJECT_ROOT / "var" / "spool"
    max_body_bytes: int = MAX_BODY_BYTES
    max_concurrent_requests: int = MAX_CONCURRENT_REQUESTS
    max_buffered_body_bytes: int = MAX_BUFFERED_BODY_BYTES


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    url: str = field(default="postgresql+psycopg2://localhost/solaris", repr=False)
    migration_url: str = field(default="postgresql+psycopg2://localhost/solaris", repr=False)


@dataclass(frozen=True, slots=True)
class RedisSettings:
    url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class LiteLLMSettings:
    base_url: str = "http://127.0.0.1:4000"
    master_key: str = field(default=DEVELOPMENT_MASTER_KEY, repr=False)
    timeout_s: float = 600.0
    max_retries: int = 1
    retry_delay_s: float = 0.5
    config_path: Path = PROJECT_ROOT / "database" / "litellm-config.yaml"


@dataclass(frozen=True, slots=True)
class BudgetSettings:
    # Budgets of a day, a week or a month begin and end there.
    timezone: str = "America/Sao_Paulo"
    # While Postgres is away: refuse everything (strict), or serve under a small lease (lenient).
    mode: str = "strict"
    quota_status: int = 402
    # Calls at once of one named person; 0 is no limit.
    user_concurrency: int = 4
    # What a worker that died still holds is settled by another after this long.
    hold_lifetime_s: int = 30


@dataclass(frozen=True, slots=True)
class SecuritySettings:
    secret_key: str = field(default=DEVELOPMENT_SECRET_KEY, repr=False)
    admin_api_key: str | None = field(default=None, repr=False)
    # Newest first; a delivery signed with any of them is genuine.
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    openwebui_jwt_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AuditSettings:
    # Newest first: the one that signs, and those that signed before it. Not in the database.
    hmac_keys: tuple[str, ...] = field(default=(DEVELOPMENT_SECRET_KEY,), repr=False)
    # Whole months older than this are dropped; 0 keeps everything.
    retention_days: int = 400
    # Whether prompts and answers are stored, encrypted, and for how long.
    keeps_content: bool = False
    content_retention_days: int = 30
    # What may wait on a machine's disk while Postgres is away, for each worker.
    spool_max_bytes: int = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Where alerts go; without any target, into the log."""

    # Of these any may carry a secret.
    slack_urls: tuple[str, ...] = field(default=(), repr=False)
    webhook_urls: tuple[str, ...] = field(default=(), repr=False)
    webhook_secret: str = field(default="", repr=False)
    emails: tuple[str, ...] = ()
    smtp_url: str | None = field(default=None, repr=False)
    # Who writes the e-mails; the first of those who read them, unless it is said.
    sender: str = ""
    # What messages link to.
    dashboard_url: str = ""
    # Whether targets may be inside: loopback, and private networks.
    allow_private: bool = False
    # When only what is critical is told, in TIMEZONE.
    quiet_hours: QuietHours | None = None


@dataclass(frozen=True, slots=True)
class EventSettings:
    # What LiteLLM said of calls; as long as an event is kept, its repetition is recognised.
    retention_days: int = 40


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """Who else may sign a person in to `/me`; without an issuer, nobody."""

    issuer: str = ""
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    # What of the person's claims is their id here, or their e-mail address here.
    claim: str = "email"


@dataclass(frozen=True, slots=True)
class PageSettings:
    # R$ for one US$, shown beside it; None shows US$ only.
    usd_brl: Decimal | None = None
    oidc: OidcSettings = field(default_factory=OidcSettings)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that `create_app` needs to know; immutable, and safe to print."""

    environment: str = "development"
    locale: str = DEFAULT_LOCALE
    log_level: str = "INFO"
    server: ServerSettings = field(default_factory=ServerSettings)
    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    redis: RedisSettings = field(default_factory=RedisSettings)
    litellm: LiteLLMSettings = field(default_factory=LiteLLMSettings)
    security: SecuritySettings = field(default_factory=SecuritySettings)
    budgets: BudgetSettings = field(default_factory=BudgetSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    alerts: AlertSettings = field(default_factory=AlertSettings)
    events: EventSettings = field(default_factory=EventSettings)
    pages: PageSettings = field(default_factory=PageSettings)

    @property
    def is_production(self) -> bool:
        return self.environment == "production"


def load_settings(variables: Mapping[str, str] | None = None) -> Settings:
    """Read the settings, by default from this process's environment.

    Raises: ConfigurationError, naming every variable that is wrong, missing or unsafe.
    """
    variables = os.environ if variables is None else variables
    # Whoever does not say is in production: what is unsafe must be asked for by name.
    environment_name = variables.get("ENVIRONMENT", "").strip() or "production"
    is_production = environment_name == "production"
    env = Environment(variables, production=is_production)
    env.choice("ENVIRONMENT", "production", ("development", "production"))
    security = _security(env)
    settings = Settings(
        environment=environment_name,
        locale=env.choice("LOCALE", DEFAULT_LOCALE, LOCALES),
        log_level=env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR")),
        server=_server(env),
        database=_database(env),
        redis=RedisSettings(url=_redis_url(env)),
        litellm=_litellm(env),
        security=security,
        budgets=_budgets(env),
        audit=_audit(env, fallback="" if is_production else security.secret_key),
        alerts=_alerts(env),
        events=_events(env),
        pages=_pages(env),
    )
    problems = env.problems + (_unsafe(settings) if settings.is_production else [])
    if problems:
        raise ConfigurationError(problems)
    return settings


def _server(env: Environment) -> ServerSettings:
    return ServerSettings(
        host=env.text("HOST", "127.0.0.1"),
        port=env.integer("PORT", 5000, low=1, high=65535),
        workers=env.integer("WORKERS", 2, low=1, high=64),
        drain_grace_s=env.integer("DRAIN_GRACE", 30, low=3, high=3600),
        forwarded_allow_ips=env.networks(
            "FORWARDED_ALLOW_IPS", ServerSettings().forwarded_allow_ips
        ),
        is_traced=env.traces("OTEL_EXPORTER_OTLP_ENDPOINT"),
        metrics_allow=env.networks("METRICS_ALLOW", ServerSettings().metrics_allow),
        state_dir=Path(env.text("SPOOL_DIR", str(ServerSettings().state_dir))),
    )


def _database(env: Environment) -> DatabaseSettings:
    default = "postgresql://localhost/solaris"
    schemes = ("postgresql://", "postgres://", "postgresql+psycopg2://")
    url = env.secret_url("DATABASE_URL", default, schemes=schemes)
    migration_url = env.secret_url("MIGRATION_DATABASE_URL", url, schemes=schemes)
    return DatabaseSettings(_with_driver(url), _with_driver(migration_url))


def _with_driver(url: str) -> str:
    """Name the driver: to SQLAlchemy 2.1 a bare `postgresql://` means psycopg 3."""
    return "postgresql+psycopg2://" + url.split("://", 1)[1]


def _redis_url(env: Environment) -> str | None:
    url = env.secret_url("REDIS_URL", "", schemes=("redis://", "rediss://", "unix://"))
    host = env.optional("REDIS_HOST")
    port = env.integer("REDIS_PORT", 6379, low=1, high=65535)
    password = env.secret("REDIS_PASSWORD")
    if url or not host:
        return url or None
    credentials = f":{quote(password, safe='')}@" if password else ""
    return f"redis://{credentials}{host}:{port}/0"


def _litellm(env: Environment) -> LiteLLMSettings:
    defaults = LiteLLMSettings()
    return LiteLLMSettings(
        base_url=env.url(
            "LITELLM_BASE_URL", defaults.base_url, schemes=("http://", "https://")
        ).rstrip("/"),
        master_key=env.secret("LITELLM_MASTER_KEY") or DEVELOPMENT_MASTER_KEY,
        timeout_s=env.seconds("LITELLM_TIMEOUT", defaults.timeout_s, low=1, high=3600),
        max_retries=env.integer("LITELLM_MAX_RETRIES", defaults.max_retries, low=0, high=5),
        retry_delay_s=env.seconds("LITELLM_RETRY_DELAY", defaults.retry_delay_s, low=0, high=30),
        config_path=Path(env.text("LITELLM_CONFIG", str(defaults.config_path))),
    )


def _security(env: Environment) -> SecuritySettings:
    current, previous = env.secret("WEBHOOK_SECRET"), env.secret("WEBHOOK_SECRET_PREVIOUS")
    return SecuritySettings(
        secret_key=env.secret("SECRET_KEY") or DEVELOPMENT_SECRET_KEY,
        admin_api_key=env.secret("ADMIN_API_KEY"),
        # A previous secret without a current one is a mistake, and verifies nothing.
        webhook_secrets=tuple(secret for secret in (current, previous) if current and secret),
        openwebui_jwt_secret=env.secret("OPENWEBUI_JWT_SECRET"),
    )


def _budgets(env: Environment) -> BudgetSettings:
    defaults = BudgetSettings()
    return BudgetSettings(
        timezone=env.timezone("TIMEZONE", defaults.timezone),
        mode=env.choice("BUDGET_MODE", defaults.mode, ("strict", "lenient")),
        quota_status=int(env.choice("QUOTA_STATUS", "402", ("402", "429"))),
        hold_lifetime_s=env.integer("HOLD_LIFETIME", defaults.hold_lifetime_s, low=3, high=3600),
        user_concurrency=env.integer(
            "USER_CONCURRENCY", defaults.user_concurrency, low=0, high=10_000
        ),
    )


def _audit(env: Environment, fallback: str) -> AuditSettings:
    """``fallback`` signs where no key is given; in production there is none."""
    defaults = AuditSettings()
    key = env.secret("AUDIT_HMAC_KEY") or fallback
    previous = [it.strip() for it in (env.secret("AUDIT_HMAC_KEY_PREVIOUS") or "").split(",")]
    days = env.integer("AUDIT_RETENTION_DAYS", defaults.retention_days, low=0, high=36_500)
    spool_mb = env.integer("SPOOL_MAX_MB", defaults.spool_max_bytes // 2**20, low=1, high=2**20)
    return AuditSettings(
        hmac_keys=tuple(it for it in (key, *previous) if it),
        retention_days=days,
        keeps_content=env.choice("AUDIT_CONTENT", "off", ("off", "on")) == "on",
        content_retention_days=env.integer(
            "AUDIT_CONTENT_DAYS", defaults.content_retention_days, low=1, high=3650
        ),
        spool_max_bytes=spool_mb * 2**20,
    )


def _alerts(env: Environment) -> AlertSettings:
    allow_private = env.flag("ALERT_ALLOW_PRIVATE", default=False)
    emails, senders = env.mail_addresses("ALERT_EMAIL"), env.mail_addresses("ALERT_FROM")
    smtp_url = env.mail_server("SMTP_URL", allow_private=allow_private)
    webhook_urls = env.outside_urls("ALERT_WEBHOOK_URL", allow_private=allow_private)
    webhook_secret = env.secret("ALERT_WEBHOOK_SECRET") or ""
    if emails:
        env.require_with("SMTP_URL", present=smtp_url, other="ALERT_EMAIL")
    if webhook_urls:
        env.require_with("ALERT_WEBHOOK_SECRET", present=webhook_secret, other="ALERT_WEBHOOK_URL")
    return AlertSettings(
        slack_urls=env.outside_urls("SLACK_WEBHOOK_URL", allow_private=allow_private),
        webhook_urls=webhook_urls,
        webhook_secret=webhook_secret,
        emails=emails,
        smtp_url=smtp_url,
        sender=next(iter((*senders, *emails)), ""),
        dashboard_url=env.url("DASHBOARD_URL", "", schemes=("http://", "https://")),
        allow_private=allow_private,
        quiet_hours=env.quiet_hours("ALERT_QUIET_HOURS"),
    )


def _events(env: Environment) -> EventSettings:
    days = EventSettings().retention_days
    return EventSettings(env.integer("LITELLM_EVENT_DAYS", days, low=8, high=3650))


def _pages(env: Environment) -> PageSettings:
    issuer = env.url(
        "OIDC_ISSUER", "", schemes=("https://", "http://127.0.0.1", "http://localhost")
    )
    oidc = OidcSettings(
        issuer=issuer.rstrip("/"),
        client_id=env.text("OIDC_CLIENT_ID", ""),
        client_secret=env.secret("OIDC_CLIENT_SECRET") or "",
        claim=env.text("OIDC_CLAIM", OidcSettings().claim),
    )
    if issuer:
        env.require_with("OIDC_CLIENT_ID", present=oidc.client_id, other="OIDC_ISSUER")
        env.require_with("OIDC_CLIENT_SECRET", present=oidc.client_secret, other="OIDC_ISSUER")
    return PageSettings(env.rate("USD_BRL"), oidc)


def _unsafe(settings: Settings) -> list[Problem]:
    """Say what production refuses: secrets that are missing, short or publicly known."""
    required = {
        "SECRET_KEY": settings.security.secret_key,
        "ADMIN_API_KEY": settings.security.admin_api_key,
        "LITELLM_MASTER_KEY": settings.litellm.master_key,
        "WEBHOOK_SECRET": next(iter(settings.security.webhook_secrets), None),
        "AUDIT_HMAC_KEY": next(iter(settings.audit.hmac_keys), None),
    }
    optional = {
        "WEBHOOK_SECRET_PREVIOUS": next(iter(settings.security.webhook_secrets[1:]), None),
        "OPENWEBUI_JWT_SECRET": settings.security.openwebui_jwt_secret,
        "AUDIT_HMAC_KEY_PREVIOUS": next(iter(settings.audit.hmac_keys[1:]), None),
        "ALERT_WEBHOOK_SECRET": settings.alerts.webhook_secret,
        "OIDC_CLIENT_SECRET": settings.pages.oidc.client_secret,
    }
    checked = required | {name: value for name, value in optional.items() if value}
    problems = [
        Problem(name, code, {"minimum": MINIMUM_SECRET_LENGTH})
        for name, value in checked.items()
        if (code := _weakness(value))
    ]
    if settings.database.url == DatabaseSettings().url:
        problems.append(Problem("DATABASE_URL", "missing"))
    return problems + _known_passwords(settings.database)


def _known_passwords(database: DatabaseSettings) -> list[Problem]:
    urls = {"DATABASE_URL": database.url}
    if database.migration_url != database.url:
        urls["MIGRATION_DATABASE_URL"] = database.migration_url
    return [
        Problem(name, "known_password")
        for name, url in urls.items()
        if unquote(urlsplit(url).password or "").lower() in PUBLICLY_KNOWN_SECRETS
    ]


def _weakness(secret: str | None) -> str | None:
    if not secret or secret in (DEVELOPMENT_SECRET_KEY, DEVELOPMENT_MASTER_KEY):
        return "missing"
    if secret.lower() in PUBLICLY_KNOWN_SECRETS:
        return "publicly_known"
    return "too_short" if len(secret) < MINIMUM_SECRET_LENGTH else None
