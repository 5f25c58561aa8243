"""`solaris run`: starts what is missing, shows what to do, and stops all of it at the end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from urllib.parse import unquote, urlsplit

from flask_migrate import upgrade

from app import create_app
from app.config.catalog import load_catalog
from app.config.commands import command_text
from app.config.problems import locale_of
from app.config.settings import PROJECT_ROOT, Settings, load_settings
from app.embedded.banner import print_banner
from app.embedded.console import Console
from app.embedded.engines import EmbeddedPostgres, EmbeddedValkey
from app.embedded.litellm_server import InstallFailedError, LiteLLMEnvironment, LiteLLMServer
from app.embedded.network import free_port, is_free
from app.embedded.processes import Child, ChildDiedError
from app.embedded.state import AlreadyRunningError, StateDirectory
from app.extensions import services_of
from app.services.key_format import hash_key
from app.serving.flask_app import SolarisFlask
from app.utils.exceptions import DatabaseUnavailableError
from app.utils.postgres_faults import why_unreachable

LITELLM_PORT = 4000
LITELLM_START_TIMEOUT_S = 120.0
PROXY_START_TIMEOUT_S = 60.0
PROXY_STOP_MARGIN_S = 5.0
POLL_S = 0.1
# Enough for `make run`: in production DRAIN_GRACE decides.
DRAIN_GRACE_S = "5"
FIRST_KEY_NAME = "make-run"
FIRST_KEY_USER = "demo"


class StartFailedError(RuntimeError):
    """Something did not start; the message is for the person at the terminal."""


class Stack:
    """One run. Whatever was started is stopped in the opposite order, however the run ends."""

    def __init__(
        self, environment: Mapping[str, str], state: StateDirectory, console: Console
    ) -> None:
        self._console = console
        self._state = state
        self._env = dict(environment)
        self._env.setdefault("ENVIRONMENT", "development")
        self._env.setdefault("DRAIN_GRACE", DRAIN_GRACE_S)
        self._env.setdefault("SPOOL_DIR", str(state.path / "spool"))
        self._stops: list[Callable[[], None]] = []
        self._children: list[Child] = []
        self._litellm: LiteLLMServer | None = None

    def run(self) -> int:
        """Start, wait for Ctrl-C or TERM, stop. Returns the exit code."""
        try:
            self._state.claim()
            with _signals_as_interrupt():
                return self._run_claimed()
        except AlreadyRunningError as error:
            self._console.say(self._console.text("running", pid=error.pid))
            return 1

    def _run_claimed(self) -> int:
        started_s = time.monotonic()
        try:
            self._start()
            self._console.say()
            print_banner(
                self._console,
                self._settings,
                self._state,
                api_key=self._env["SOLARIS_API_KEY"],
                key_user=FIRST_KEY_USER,
                mocked=self._litellm.mocked if self._litellm else {},
                total_models=len(self._catalog.models),
                started_in_s=time.monotonic() - started_s,
            )
            self._wait()
        except KeyboardInterrupt:
            return 0
        except ChildDiedError as error:
            self._report_child(error)
            return 1
        except StartFailedError as error:
            self._console.say(f"\n{error}")
            return 1
        finally:
            self._stop()
        return 0

    def _start(self) -> None:
        self._env |= self._state.secrets(self._env)
        # Whatever is wrong is told before anything is started for nothing.
        self._settings = load_settings(self._env)
        self._catalog = load_catalog(self._settings.litellm.config_path)
        self._console.say(self._console.text("title"))
        port = self._settings.server.port
        if not is_free(port):
            raise StartFailedError(self._console.text("port_taken", port=port))
        self._start_valkey()
        # LiteLLM takes longest, so it loads while everything else starts.
        self._start_litellm()
        self._start_postgres()
        self._prepare_database()
        self._state.write_env(_settings_of(self._env))
        self._start_proxy()

    def _start_valkey(self) -> None:
        if self._settings.redis.url:
            return
        with self._console.step("valkey"):
            valkey = EmbeddedValkey(self._state.path / "valkey")
            self._stops.append(valkey.stop)
            self._set(REDIS_URL=valkey.url)

    def _start_litellm(self) -> None:
        if self._env.get("LITELLM_BASE_URL"):
            return
        environment = LiteLLMEnvironment(self._state.litellm_venv)
        if not environment.is_installed:
            self._install(environment)
        self._litellm = LiteLLMServer(
            environment,
            shipped_config=self._settings.litellm.config_path,
            state_dir=self._state.logs,
            # The proxy takes its port last; LiteLLM, finding its own taken, would quietly take
            # another than the one it was given.
            port=free_port(LITELLM_PORT, avoid=frozenset({self._settings.server.port})),
            variables=self._env | _litellm_variables(self._settings),
            locale=self._settings.locale,
        )
        self._stops.append(self._litellm.stop)
        self._children.append(self._litellm.child)
        self._set(LITELLM_BASE_URL=self._litellm.base_url)

    def _install(self, environment: LiteLLMEnvironment) -> None:
        try:
            with self._console.step("install"):
                environment.install(self._state.logs / "litellm-install.log")
        except InstallFailedError as error:
            raise StartFailedError(
                f"{self._console.text('install_failed')}\n{error.tail}"
            ) from error

    def _start_postgres(self) -> None:
        if self._env.get("DATABASE_URL") or self._env.get("DATABASE_URL_FILE"):
            return
        with self._console.step("postgres"):
            postgres = EmbeddedPostgres(self._state.path / "postgres")
            self._stops.append(postgres.stop)
            self._set(DATABASE_URL=postgres.url)

    def _set(self, **variables: str) -> None:
        self._env |= variables
        self._settings = load_settings(self._env)

    def _prepare_database(self) -> None:
        with self._console.step("migrations"):
            app = create_app(self._settings)
            try:
                with app.app_context():
                    _upgrade()
                    self._env["SOLARIS_API_KEY"] = self._first_key(app)
            except DatabaseUnavailableError as error:
                raise StartFailedError(self._why_no_tables(error)) from error

    def _why_no_tables(self, error: DatabaseUnavailableError) -> str:
        reason = command_text(
            "database_away",
            self._settings.locale,
            variable=error.values.get("variable", "DATABASE_URL"),
            reason=why_unreachable(error.__cause__),
        )
        return self._console.text("migration_failed", reason=reason)

    def _first_key(self, app: SolarisFlask) -> str:
        """Return the key of an earlier run if it is still good, else make one."""
        access = services_of(app).access
        known = self._state.known_key()
        live = {record.key_hash: record for record in access.list_keys()}
        if known and hash_key(known) in live:
            return known
        for record in live.values():
            if record.name == FIRST_KEY_NAME:
                access.revoke_key(str(record.id))
        key, _ = access.create_key(FIRST_KEY_NAME, user_id=FIRST_KEY_USER, trusted=True)
        self._state.remember_key(key)
        return key

    def _start_proxy(self) -> None:
        proxy = Child(
            "proxy",
            [Path(sys.executable).with_name("solaris"), "serve"],
            log_path=self._state.logs / "proxy.log",
            env=self._env,
            cwd=PROJECT_ROOT,
        )
        grace_s = self._settings.server.drain_grace_s + PROXY_STOP_MARGIN_S
        self._stops.append(lambda: proxy.stop(grace_s))
        self._children.append(proxy)
        with self._console.step("proxy"):
            self._wait_for(f"{self._proxy_url}/livez", proxy, PROXY_START_TIMEOUT_S)
        if self._litellm is not None:
            with self._console.step("litellm"):
                ready = f"{self._litellm.base_url}/health/readiness"
                self._wait_for(ready, self._litellm.child, LITELLM_START_TIMEOUT_S)

    @property
    def _proxy_url(self) -> str:
        return f"http://127.0.0.1:{self._settings.server.port}"

    def _wait_for(self, url: str, child: Child, timeout_s: float) -> None:
        """Raises: ChildDiedError, StartFailedError."""
        deadline_s = time.monotonic() + timeout_s
        while not _answers(url):
            for running in self._children:
                running.require_alive()
            if time.monotonic() > deadline_s:
                said = self._console.text(
                    "slow", name=child.name, seconds=timeout_s, log=child.log_path
                )
                raise StartFailedError(f"{said}\n{child.log_tail()}")
            time.sleep(POLL_S)

    def _wait(self) -> None:
        while True:
            for child in self._children:
                child.require_alive()
            time.sleep(POLL_S)

    def _report_child(self, error: ChildDiedError) -> None:
        child = next(child for child in self._children if child.name == error.name)
        self._console.say()
        self._console.say(
            self._console.text("died", name=error.name, code=error.code, log=child.log_path)
        )
        self._console.say(error.tail)

    def _stop(self) -> None:
        if not self._stops:
            return
        self._console.say("\n" + self._console.text("stopping"))
        # A second Ctrl-C must not leave half of it running.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._state.remove_env()
        with contextlib.ExitStack() as stack:
            for stop in self._stops:
                stack.callback(stop)
        self._console.say(self._console.text("stopped"))


def _upgrade() -> None:
    # Alembic speaks on standard output.
    with contextlib.redirect_stdout(sys.stderr):
        upgrade()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310  # an http:// of ours
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _litellm_variables(settings: Settings) -> dict[str, str]:
    """Return our settings under the names that LiteLLM's configuration reads."""
    known = {"LITELLM_MASTER_KEY": settings.litellm.master_key} | _webhook(settings)
    return known | (_redis_parts(settings.redis.url) if settings.redis.url else {})


def _webhook(settings: Settings) -> dict[str, str]:
    """Return where LiteLLM's callback sends its events, and what signs them."""
    secret = next(iter(settings.security.webhook_secrets), "")
    url = f"http://127.0.0.1:{settings.server.port}/api/webhooks/litellm"
    return {"SOLARIS_WEBHOOK_URL": url, "WEBHOOK_SECRET": secret} if secret else {}


def _redis_parts(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    named = {"REDIS_HOST": parts.hostname or "", "REDIS_PORT": str(parts.port or 6379)}
    return named | ({"REDIS_PASSWORD": unquote(parts.password)} if parts.password else {})


def _settings_of(env: Mapping[str, str]) -> dict[str, str]:
    """Return what another terminal needs in order to run `solaris` against this stack."""
    names = (
        "ENVIRONMENT",
        "DATABASE_URL",
        "MIGRATION_DATABASE_URL",
        "REDIS_URL",
        "TIMEZONE",
        "LITELLM_BASE_URL",
        "LITELLM_CONFIG",
        "LITELLM_MASTER_KEY",
        "LOCALE",
        "SECRET_KEY",
        "ADMIN_API_KEY",
        "WEBHOOK_SECRET",
        "AUDIT_HMAC_KEY",
        "AUDIT_HMAC_KEY_PREVIOUS",
        "AUDIT_RETENTION_DAYS",
        "AUDIT_CONTENT_DAYS",
        "SPOOL_DIR",
        "PORT",
        "SLACK_WEBHOOK_URL",
        "ALERT_EMAIL",
        "ALERT_FROM",
        "SMTP_URL",
        "ALERT_WEBHOOK_URL",
        "ALERT_WEBHOOK_SECRET",
        "ALERT_ALLOW_PRIVATE",
        "ALERT_QUIET_HOURS",
        "DASHBOARD_URL",
    )
    return {name: env[name] for name in names if env.get(name)}


@contextlib.contextmanager
def _signals_as_interrupt() -> Iterator[None]:
    """Make TERM and HUP end the run as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_stack(state_dir: Path) -> int:
    """Raises: ConfigurationError, before anything is started."""
    console = Console(locale_of(os.environ))
    return Stack(os.environ, StateDirectory(state_dir), console).run()
