"""A proxy in this process with budgets, somebody who calls it, and what its ledger says then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import orjson

from app.extensions import services_of
from app.services.budget_service import BudgetService, BudgetState
from tests.asgi_client import AsgiClient, Exchange, Reply
from tests.waiting import wait_until

OUTPUT_TOKENS = 20
QUESTION: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [{"role": "user", "content": "Olá!"}],
    "max_tokens": OUTPUT_TOKENS,
}
BODY = orjson.dumps(QUESTION)
# Every byte of the body may be a token.
HELD_TOKENS = len(BODY) + OUTPUT_TOKENS
USAGE = {"prompt_tokens": 7, "completion_tokens": 4}
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Served:
    """Asks as Ana, whom a trusted key names, unless ``key`` is another one."""

    client: AsgiClient
    key: str

    @property
    def budgets(self) -> BudgetService:
        return services_of(self.client.server.app).budgets

    def budget(
        self,
        metric: str,
        period: str,
        limit: int,
        *,
        scope: str = "user",
        subject: str = "*",
        mode: str = "enforce",
    ) -> None:
        self.budgets.set(
            scope=scope, subject=subject, metric=metric, period=period, limit=limit, mode=mode
        )

    def ask(self, path: str = CHAT, **changed: Any) -> Reply:
        return self.send(orjson.dumps({**QUESTION, **changed}), path)

    def send(
        self, body: bytes, path: str = CHAT, headers: Mapping[str, str] | None = None
    ) -> Reply:
        return self.client.call("POST", path, self._headers(headers or {}), body)

    def begin(self, **changed: Any) -> tuple[Exchange, Future[Reply]]:
        body = orjson.dumps({**QUESTION, **changed})
        return self.client.begin("POST", CHAT, self._headers({}), body)

    def standing(self, metric: str, period: str, scope: str = "user") -> tuple[int, int]:
        """Return what is posted and what is pending, in all."""
        states = [it for it in self._states() if _place(it) == (scope, metric, period)]
        return sum(it.posted for it in states), sum(it.pending for it in states)

    def settled(self, metric: str, period: str, scope: str = "user") -> int:
        """Return what is posted, when nothing is pending any more."""
        wait_until(lambda: self.standing(metric, period, scope)[1] == 0)
        return self.standing(metric, period, scope)[0]

    def _states(self) -> list[BudgetState]:
        return self.budgets.states()

    def _headers(self, more: Mapping[str, str]) -> list[tuple[str, str]]:
        named = {"Authorization": f"Bearer {self.key}", "X-Solaris-User-Id": "ana", **more}
        return list(named.items())


def _place(state: BudgetState) -> tuple[str, str, str]:
    return state.scope, state.metric, state.period


StartServed = Callable[..., Served]
