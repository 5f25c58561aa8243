"""Kill switches as administrators throw and lift them.

The reason is kept with the switch, not on record: it may name a person, and could never be erased.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.config.catalog import Catalog
from app.services.actions import RecordAction, unrecorded
from app.services.kill_switch_store import KillSwitch, KillSwitchStore
from app.utils.actor import actor_var
from app.utils.clock import Clock
from app.utils.exceptions import InvalidFieldError, NotFoundError


class KillSwitchNotFoundError(NotFoundError):
    """No kill switch of this number is thrown."""


class KillSwitchService:
    """Blocking: for the command line, and for views that run in threads."""

    def __init__(
        self,
        store: KillSwitchStore,
        catalog: Catalog,
        clock: Clock,
        record: RecordAction = unrecorded,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._clock = clock
        self._record = record

    def throw(
        self, *, scope: str, subject: str = "", reason: str, expires_at: datetime | None = None
    ) -> KillSwitch:
        """Refuse the calls of everybody, a team or a person, or those to a model, until it is
        lifted or expires; one that stands in this place already is replaced.

        Raises: InvalidFieldError, DatabaseUnavailableError.
        """
        self._require_subject(scope, subject)
        now = self._clock.now()
        if expires_at is not None and expires_at <= now:
            raise InvalidFieldError("not_in_future", param="expires_at")
        by = actor_var.get()
        old, new = self._store.throw(
            scope, subject, reason=reason, expires_at=expires_at, now=now, by=by
        )
        self._recorded("kill_switch_thrown", new, old, new)
        return new

    def lift(self, switch_id: int) -> KillSwitch:
        """Let calls pass again.

        Raises: KillSwitchNotFoundError, DatabaseUnavailableError.
        """
        lifted = self._store.lift(switch_id, self._clock.now(), actor_var.get())
        if lifted is None:
            raise KillSwitchNotFoundError(switch_id)
        self._recorded("kill_switch_lifted", lifted, lifted, None)
        return lifted

    def page(
        self, limit: int, *, past: bool = False, before: int | None = None
    ) -> tuple[list[KillSwitch], int | None]:
        """Return those that are thrown, or all; the latest first; and the last one's number, if
        more follow.

        Raises: DatabaseUnavailableError.
        """
        found = self._store.page(self._clock.now(), limit + 1, past=past, before=before)
        shown = found[:limit]
        return shown, shown[-1].id if len(found) > limit else None

    def _require_subject(self, scope: str, subject: str) -> None:
        if (scope == "all") != (subject == ""):
            raise InvalidFieldError("not_whose", param="subject")
        if scope == "model" and subject not in self._catalog.models:
            allowed = ", ".join(self._catalog.models)
            raise InvalidFieldError("not_one_of", param="subject", allowed=allowed)

    def _recorded(
        self, action: str, switch: KillSwitch, before: KillSwitch | None, after: KillSwitch | None
    ) -> None:
        whose = {switch.scope: switch.subject} if switch.subject else {}
        self._record(
            action,
            user=whose.get("user"),
            team=whose.get("team"),
            scope=switch.scope,
            model=whose.get("model"),
            switch=switch.id,
            before=_state(before),
            after=_state(after),
        )


def _state(switch: KillSwitch | None) -> dict[str, Any]:
    if switch is None:
        return {"thrown": False}
    return {"thrown": True, "expires_at": switch.expires_at}
