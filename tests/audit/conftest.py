"""What tests of the trail share: its Postgres, and its commands."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from subprocess import CompletedProcess

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, create_engine

from app.audit.chain import AuditKey
from app.audit.store import AuditStore
from app.cli import cli
from app.config.settings import Settings
from app.embedded.network import free_port
from tests.audit.trails import PRESENT, ZONE
from tests.servers import environment_of

Ask = Callable[..., CompletedProcess[str]]


@pytest.fixture
def engine(clean_database: str) -> Iterator[Engine]:
    engine = create_engine(clean_database)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> AuditStore:
    return AuditStore(engine, AuditKey.of(PRESENT), ZONE)


@pytest.fixture
def same_log() -> Iterator[None]:
    """Leave the log as it was: a command makes it its own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def ask(settings: Settings, same_log: None) -> Ask:
    """Run a command in this process: ``ask("usage", "--by", "user", LOCALE="pt_BR")``."""
    environment = environment_of(settings, free_port()) | {
        "AUDIT_HMAC_KEY": PRESENT,
        "LOCALE": "en",
    }

    def run(*arguments: str, **variables: str) -> CompletedProcess[str]:
        result = CliRunner().invoke(cli, arguments, env=environment | variables)
        stdout = result.stdout_bytes.decode()
        return CompletedProcess(arguments, result.exit_code, stdout, result.stderr)

    return run
