"""What the script `diagnose-litellm.sh` cannot see from outside: this installation's own parts.

The script states what is asked over the network; here is what only the product's code can tell.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from app.audit.chain import AuditKeys
from app.config.catalog import Catalog
from app.config.settings import PROJECT_ROOT, Settings
from app.services.retired_models import load_cost_map, retirements
from app.utils.clock import Clock
from app.utils.postgres_faults import why_unreachable

MIGRATIONS = PROJECT_ROOT / "database" / "migrations"
OK, WARNING, FAILURE, SKIPPED = "ok", "warning", "failure", "skipped"
MOST_CLOCK_DIFFERENCE_S = 5
LEAST_FREE_BYTES = 2**30
REVISION = text("SELECT version_num FROM alembic_version")
NOW = text("SELECT extract(epoch FROM clock_timestamp())")
LAST_KEY = text("SELECT key_id FROM audit_checkpoints ORDER BY id DESC LIMIT 1")


@dataclass(frozen=True, slots=True)
class Finding:
    """``key`` is the text that says it, with ``values``."""

    check: str
    state: str
    key: str
    values: dict[str, Any]


def _finding(check: str, state: str, key: str, **values: Any) -> Finding:
    return Finding(check, state, key, values)


class Diagnosis:
    """Blocking: for the command line. Changes nothing."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        engine: Engine,
        clock: Clock,
        litellm_dir: Path,
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._engine = engine
        self._clock = clock
        self._litellm_dir = litellm_dir

    def findings(self) -> Iterator[Finding]:
        """Yield each as it is found."""
        yield _finding(
            "configuration", OK, "doctor_configuration", models=len(self._catalog.models)
        )
        yield from self._database()
        yield self._spool()
        yield self._alerts()
        yield from self._retired()

    def _database(self) -> Iterator[Finding]:
        try:
            with self._engine.connect() as connection:
                revision = connection.execute(REVISION).scalar()
                now_s = float(connection.execute(NOW).scalar_one())
                key_id = connection.execute(LAST_KEY).scalar()
        except DBAPIError as fault:
            reason = why_unreachable(fault)
            yield _finding("database", FAILURE, "doctor_database", reason=reason)
            return
        yield self._migrations(revision)
        yield self._clocks(now_s)
        yield self._audit_key(key_id)

    def _migrations(self, revision: str | None) -> Finding:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        head = ScriptDirectory.from_config(config).get_current_head()
        if revision == head:
            return _finding("migrations", OK, "doctor_migrated", revision=head)
        return _finding("migrations", FAILURE, "doctor_unmigrated", there=revision, here=head)

    def _clocks(self, postgres_s: float) -> Finding:
        difference_s = round(abs(self._clock.now().timestamp() - postgres_s))
        state = OK if difference_s <= MOST_CLOCK_DIFFERENCE_S else WARNING
        return _finding("clock", state, "doctor_clock", seconds=difference_s)

    def _audit_key(self, key_id: str | None) -> Finding:
        known = {key.id for key in AuditKeys(self._settings.audit.hmac_keys).every}
        if key_id is None:
            return _finding("audit_key", SKIPPED, "doctor_no_trail")
        if key_id in known:
            return _finding("audit_key", OK, "doctor_audit_key")
        return _finding("audit_key", FAILURE, "doctor_audit_key_unknown", id=key_id)

    def _spool(self) -> Finding:
        folder = self._settings.server.state_dir
        existing = next(it for it in (folder, *folder.parents) if it.exists())
        if not os.access(existing, os.W_OK):
            return _finding("disk", FAILURE, "doctor_not_writable", path=folder)
        free = shutil.disk_usage(existing).free
        state = OK if free >= LEAST_FREE_BYTES else WARNING
        return _finding("disk", state, "doctor_free", mib=free // 2**20, path=folder)

    def _alerts(self) -> Finding:
        it = self._settings.alerts
        targets = len(it.slack_urls) + len(it.webhook_urls) + len(it.emails)
        if targets:
            return _finding("alert_targets", OK, "doctor_targets", count=targets)
        return _finding("alert_targets", WARNING, "doctor_no_targets")

    def _retired(self) -> Iterator[Finding]:
        cost_map = load_cost_map(self._settings.litellm.base_url, self._litellm_dir)
        if cost_map is None:
            yield _finding("retired_models", SKIPPED, "doctor_no_map")
            return
        today = self._clock.now().date()
        found = retirements(self._catalog.models.values(), cost_map, today)
        for it in found:
            facts = {"model": it.model, "target": it.target, "day": it.on}
            if it.on is None:
                key = "doctor_unknown_target"
            else:
                key = "doctor_retired" if it.on <= today else "doctor_retires"
            yield _finding("retired_models", WARNING, key, **facts)
        if not found:
            yield _finding("retired_models", OK, "doctor_none_retired")
