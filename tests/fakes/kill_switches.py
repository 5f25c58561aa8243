"""Kill switches without a database: what a test says is thrown."""

from __future__ import annotations

from app.services.kill_switch_store import KillSwitch, KillSwitchStore
from app.utils.exceptions import DatabaseUnavailableError


class FakeKillSwitchStore(KillSwitchStore):
    """``rows`` are thrown; ``is_away`` makes asking fail."""

    def __init__(self, *rows: KillSwitch) -> None:
        self.rows = rows
        self.is_away = False

    def thrown(self) -> tuple[KillSwitch, ...]:
        if self.is_away:
            raise DatabaseUnavailableError()
        return self.rows
