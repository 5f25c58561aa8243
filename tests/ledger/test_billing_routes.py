"""Every route that costs money, whole and streamed: what is held for it, and what is posted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from aiohttp import web
from sqlalchemy import create_engine, text

from app.config.catalog import Catalog, Model
from app.config.settings import Settings
from app.dialects.base import Usage
from app.dialects.sizes import text_size
from tests import wire
from tests.asgi_client import Reply
from tests.fakes.litellm import FakeLiteLLM, Handler, raw, sse, status, stream
from tests.ledger.served import Served, StartServed
from tests.waiting import wait_until
from tests.wire import CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES, Api

METRICS = ("tokens", "cost", "requests")
BILLED = (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES)
STREAMED = tuple(api for api in BILLED if api.events)
WAYS = [*((api, False) for api in BILLED), *((api, True) for api in STREAMED)]
CHATTING_WAYS = [(api, streamed) for api, streamed in WAYS if api is not EMBEDDINGS]
# What the answers of `wire` say of themselves, in the one meaning of ours.
SAID = {
    CHAT.path: Usage(21, 5),
    COMPLETIONS.path: Usage(21, 5),
    EMBEDDINGS.path: Usage(3, 0),
    RESPONSES.path: Usage(21, 5, cached_input_tokens=4),
    MESSAGES.path: Usage(27, 5, cached_input_tokens=4, cache_write_tokens=2),
}
# What each API calls the limit of an answer.
CAPS = {
    CHAT.path: "max_tokens",
    COMPLETIONS.path: "max_tokens",
    RESPONSES.path: "max_output_tokens",
    MESSAGES.path: "max_tokens",
}
WORDS = 40
PLENTY = 10**9
FAILURE = status(500, {"error": {"message": "no"}})


@dataclass(frozen=True)
class Row:
    """One attempt, as it stands in the table of holds; amounts in the order of METRICS."""

    model: str
    state: str
    posted: tuple[int, ...]
    is_estimated: bool
    held: tuple[int, ...]


@dataclass(frozen=True)
class Ledger:
    """People who have budgets in all three metrics, and the rows that their calls leave."""

    served: Served
    url: str

    @property
    def catalog(self) -> Catalog:
        return self.served.client.server.services.catalog

    def ask(
        self,
        api: Api,
        model: str = "",
        person: str = "ana",
        *,
        streamed: bool = False,
        **changed: Any,
    ) -> Reply:
        # Only what makes it a stream: no caller need ask for its usage.
        fields = {"stream": True} if streamed else {}
        body = api.asking(model or model_for(api), **fields, **changed)
        return self.served.send(body, api.path, {"X-Solaris-User-Id": person})

    def rows(self) -> list[Row]:
        """Return every attempt, when nothing is held any more."""
        wait_until(lambda: all(row.state != "pending" for row in self._rows()))
        return self._rows()

    def lines(self) -> tuple[int, ...]:
        """Return what is posted on each budget, when nothing is pending on any."""
        return tuple(self.served.settled(metric, "month") for metric in METRICS)

    def _rows(self) -> list[Row]:
        engine = create_engine(self.url)
        query = "SELECT model, state, posted, is_estimated, held FROM holds ORDER BY created_at"
        try:
            with engine.connect() as connection:
                found = list(connection.execute(text(query)))
        finally:
            engine.dispose()
        return [
            Row(it.model, it.state, tuple(it.posted), it.is_estimated, tuple(it.held))
            for it in found
        ]


@pytest.fixture
def ledger(serve: StartServed, settings: Settings, upstream: FakeLiteLLM) -> Ledger:
    return _ledger(serve(), settings)


@pytest.fixture
def narrow_ledger(
    serve: StartServed,
    settings: Settings,
    upstream: FakeLiteLLM,
    make_key: Callable[..., str],
) -> Ledger:
    """Of somebody whose key lets no other model answer than the one that is asked for."""
    key = make_key(trusted=True, allowed_models=sorted({model_for(api) for api in BILLED}))
    return _ledger(serve(key=key), settings)


def _ledger(served: Served, settings: Settings) -> Ledger:
    for metric in METRICS:
        served.budget(metric, "month", PLENTY)
    return Ledger(served, settings.database.url)


def named(value: object) -> str:
    if isinstance(value, Api):
        return value.path
    return {True: "stream", False: "whole"}.get(value, "") if isinstance(value, bool) else ""


def model_for(api: Api) -> str:
    # Each kind of its tokens has a price of its own.
    return "text-embedding-3-small" if api is EMBEDDINGS else "claude-sonnet-5-5"


def charge(model: Model, usage: Usage) -> tuple[int, int, int]:
    """Return what a call with this usage is to cost in each metric, rounded up once."""
    prices = model.prices
    fresh = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
    exact = (
        fresh * prices.input
        + usage.cached_input_tokens * prices.cached_input
        + usage.cache_write_tokens * prices.cache_write
        + usage.output_tokens * prices.output
    )
    return usage.input_tokens + usage.output_tokens, -(-exact // 1_000_000), 1


def capped(api: Api, limit: int | None, **more: Any) -> dict[str, Any]:
    """Return fields that limit an answer, under the name that the API has for it."""
    return {CAPS[api.path]: limit, **more}


# With usage


@pytest.mark.parametrize(("api", "streamed"), WAYS, ids=named)
def test_answer_is_charged_by_its_providers_count_at_the_catalogs_price(
    ledger: Ledger, upstream: FakeLiteLLM, api: Api, streamed: bool
) -> None:
    upstream.default = wire.well()
    model = model_for(api)

    replied = ledger.ask(api, streamed=streamed)

    due = charge(ledger.catalog.models[model], SAID[api.path])
    assert replied.status == 200
    (row,) = ledger.rows()
    assert (row.model, row.state, row.posted) == (model, "settled", due)
    assert not row.is_estimated
    assert ledger.lines() == due


# Without


def uncounted(api: Api) -> list[bytes]:
    """Return a stream of so many words, all of one token and one size, that says no usage."""
    if api is CHAT:
        return [sse({"choices": [{"index": 0, "delta": {"content": " um"}}]})] * WORDS + [api.end]
    if api is COMPLETIONS:
        return [sse({"choices": [{"index": 0, "text": " um"}]})] * WORDS + [api.end]
    begun, last = api.events[0], api.events[-1]
    word = next(event for event in api.events if b"delta" in event[:40])
    return [without_usage(begun), *[word] * WORDS, without_usage(last)]


def without_usage(event: bytes) -> bytes:
    name, data = event.split(b"\ndata: ")
    content = orjson.loads(data)
    for holder in (content, content.get("message"), content.get("response")):
        if isinstance(holder, dict):
            holder.pop("usage", None)
    return name + b"\ndata: " + orjson.dumps(content) + b"\n\n"


@pytest.mark.parametrize("api", STREAMED, ids=named)
def test_stream_that_says_no_usage_is_charged_by_our_own_count_as_an_estimate(
    ledger: Ledger, upstream: FakeLiteLLM, api: Api
) -> None:
    upstream.default = stream(uncounted(api))

    replied = ledger.ask(api, streamed=True)

    body = api.asking(model_for(api), stream=True)
    # Of a prompt that nobody has counted every fourth byte is a token.
    due = charge(ledger.catalog.models[model_for(api)], Usage(-(-len(body) // 4), WORDS))
    assert (replied.status, replied.body.endswith(uncounted(api)[-1])) == (200, True)
    (row,) = ledger.rows()
    assert (row.state, row.posted, row.is_estimated) == ("settled", due, True)
    assert ledger.lines() == due


@pytest.mark.parametrize("api", BILLED, ids=named)
def test_whole_answer_that_says_no_usage_is_charged_all_that_was_held_as_an_estimate(
    ledger: Ledger, upstream: FakeLiteLLM, api: Api
) -> None:
    answer = {name: value for name, value in api.answer.items() if name != "usage"}
    upstream.default = raw(orjson.dumps(answer), "application/json")

    replied = ledger.ask(api)

    assert replied.status == 200
    (row,) = ledger.rows()
    assert (row.state, row.posted, row.is_estimated) == ("settled", row.held, True)
    assert ledger.lines() == row.held > (0, 0, 0)


# From the cache


@pytest.mark.parametrize(("api", "streamed"), WAYS, ids=named)
def test_answer_from_the_cache_costs_nothing_though_it_says_its_full_usage(
    ledger: Ledger, upstream: FakeLiteLLM, api: Api, streamed: bool
) -> None:
    upstream.default = from_cache(api, streamed)

    replied = ledger.ask(api, streamed=streamed)

    assert replied.status == 200
    (row,) = ledger.rows()
    # A request it was all the same.
    assert (row.state, row.posted, row.is_estimated) == ("settled", (0, 0, 1), False)
    assert ledger.lines() == (0, 0, 1)


def from_cache(api: Api, streamed: bool) -> Handler:
    kind = "text/event-stream" if streamed else "application/json"
    content = api.stream if streamed else api.whole_answer()

    async def handler(_request: web.Request) -> web.StreamResponse:
        headers = {"Content-Type": kind, "x-litellm-cache-key": "k"}
        return web.Response(body=content, headers=headers)

    return handler


# Errors and fallbacks


@pytest.mark.parametrize("code", [400, 500])
@pytest.mark.parametrize(("api", "streamed"), WAYS, ids=named)
def test_error_of_the_only_model_costs_nothing_and_holds_nothing(
    narrow_ledger: Ledger, upstream: FakeLiteLLM, api: Api, streamed: bool, code: int
) -> None:
    upstream.default = status(code, {"error": {"message": "no"}})

    replied = narrow_ledger.ask(api, streamed=streamed)

    assert (replied.status, len(upstream.calls)) == ({400: 400, 500: 502}[code], 1)
    (row,) = narrow_ledger.rows()
    assert (row.state, row.posted) == ("released", (0, 0, 0))
    assert narrow_ledger.lines() == (0, 0, 0)


@pytest.mark.parametrize(("api", "streamed"), CHATTING_WAYS, ids=named)
def test_fallback_is_charged_at_its_own_price_and_the_attempt_before_it_nothing(
    ledger: Ledger, upstream: FakeLiteLLM, api: Api, streamed: bool
) -> None:
    upstream.default = wire.well()
    upstream.for_model("gpt-4o", FAILURE)

    replied = ledger.ask(api, "gpt-4o", streamed=streamed)

    due = charge(ledger.catalog.models["gpt-4-turbo"], SAID[api.path])
    assert replied.status == 200
    assert [(row.model, row.state, row.posted) for row in ledger.rows()] == [
        ("gpt-4o", "released", (0, 0, 0)),
        ("gpt-4-turbo", "settled", due),
    ]
    assert ledger.lines() == due


@pytest.mark.parametrize("period", ["minute", "month"])
@pytest.mark.parametrize(("api", "streamed"), CHATTING_WAYS, ids=named)
def test_fallback_that_is_too_dear_for_the_budget_is_left_out(
    ledger: Ledger, upstream: FakeLiteLLM, api: Api, streamed: bool, period: str
) -> None:
    upstream.default = FAILURE
    asked = capped(api, 100, **({"stream": True} if streamed else {}))
    size = len(api.asking("gpt-4o", **asked))
    cheap, dear = (
        charge(ledger.catalog.models[name], Usage(size, 100)) for name in ("gpt-4o", "gpt-4-turbo")
    )
    ledger.served.budget("cost", period, cheap[1])

    failed = ledger.ask(api, "gpt-4o", **asked)

    assert cheap[1] < dear[1]
    # The first is asked, since there is room for it to the last micro-dollar; so is the one after
    # the dear one, which is cheaper. What is told is what the first failed with.
    assert [call.body["model"] for call in upstream.calls] == ["gpt-4o", "claude-3-sonnet"]
    assert failed.status == 502
    assert {row.state for row in ledger.rows()} == {"released"}
    assert ledger.lines() == (0, 0, 0)


# What is held


@pytest.mark.parametrize(
    ("api", "name"),
    [
        (CHAT, "max_tokens"),
        (CHAT, "max_completion_tokens"),
        (COMPLETIONS, "max_tokens"),
        (RESPONSES, "max_output_tokens"),
    ],
    ids=lambda it: it if isinstance(it, str) else named(it),
)
def test_limit_that_is_null_is_sent_and_held_as_the_models_own(
    ledger: Ledger, upstream: FakeLiteLLM, api: Api, name: str
) -> None:
    upstream.default = wire.well()

    asked: dict[str, Any] = {name: None}
    ledger.ask(api, "gpt-4o", **asked)

    limit = ledger.catalog.models["gpt-4o"].max_output_tokens
    assert upstream.calls[0].body[CAPS[api.path]] == limit
    assert upstream.calls[0].body.get(name, limit) == limit
    (row,) = ledger.rows()
    assert row.held[0] == len(api.asking("gpt-4o", **asked)) + limit


@pytest.mark.parametrize("api", [CHAT, COMPLETIONS, RESPONSES], ids=named)
def test_limit_that_is_null_is_sent_and_held_as_what_is_left(
    ledger: Ledger, upstream: FakeLiteLLM, api: Api
) -> None:
    upstream.default = wire.well()
    asked = capped(api, None)
    size = len(api.asking("gpt-4o", **asked))
    ledger.served.budget("tokens", "month", size + 50)

    ledger.ask(api, "gpt-4o", **asked)

    assert upstream.calls[0].body[CAPS[api.path]] == 50
    (row,) = ledger.rows()
    assert row.held[0] == size + 50


TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
THINKING = {"type": "enabled", "budget_tokens": 2_000}
# What a field adds to a hold, beside its own bytes.
ENLARGED = [
    (CHAT, {"n": 3}, 2 * 100),
    (CHAT, {"tools": [TOOL]}, 600),
    (CHAT, {"functions": [TOOL["function"]]}, 600),
    (CHAT, {"reasoning_effort": "high"}, 4096),
    (CHAT, {"n": 2, "reasoning_effort": "low"}, 100 + 2 * 4096),
    (CHAT, {"reasoning": {"effort": "high"}}, 4096),
    (CHAT, {"thinking": THINKING}, 2_000),
    (COMPLETIONS, {"n": 3}, 2 * 100),
    (COMPLETIONS, {"best_of": 4}, 3 * 100),
    (COMPLETIONS, {"n": 2, "best_of": 4}, 3 * 100),
    (RESPONSES, {"tools": [{"type": "function", "name": "f"}]}, 600),
    (RESPONSES, {"reasoning": {"effort": "high"}}, 4096),
    (MESSAGES, {"tools": [{"name": "f", "input_schema": {}}]}, 600),
    (MESSAGES, {"thinking": THINKING}, 2_000),
    # Part of the limit.
    (MESSAGES, {"thinking": {**THINKING, "budget_tokens": 99}}, 0),
    (MESSAGES, {"thinking": {**THINKING, "budget_tokens": "many"}}, 0),
    # More than the model ever writes.
    (CHAT, {"thinking": {**THINKING, "budget_tokens": 2**62}}, 4096),
]


@pytest.mark.parametrize(
    ("api", "field", "more"),
    ENLARGED,
    ids=[f"{api.path} {orjson.dumps(field).decode()[:60]}" for api, field, _ in ENLARGED],
)
def test_hold_grows_by_what_a_field_may_add_to_the_answer(
    ledger: Ledger, upstream: FakeLiteLLM, api: Api, field: dict[str, Any], more: int
) -> None:
    upstream.default = wire.well()
    asked = capped(api, 100, **field)
    body = api.asking("gpt-4o", **asked)
    size = text_size(body, orjson.loads(body))
    needed = size + 100 + more

    ledger.served.budget("tokens", "month", needed - 1, subject="ana")
    ledger.served.budget("tokens", "month", needed, subject="bia")

    statuses = {who: ledger.ask(api, "gpt-4o", who, **asked).status for who in ("ana", "bia")}

    assert (statuses, len(upstream.calls)) == ({"ana": 402, "bia": 200}, 1)
    (row,) = ledger.rows()
    assert row.held[0] == needed
    # The caller's own limit is that of the model too, whatever is held beside it.
    assert upstream.calls[0].body[CAPS[api.path]] == 100


@pytest.mark.parametrize("api", [CHAT, COMPLETIONS, RESPONSES, MESSAGES], ids=named)
def test_limit_of_the_callers_is_never_raised(
    ledger: Ledger, upstream: FakeLiteLLM, api: Api
) -> None:
    upstream.default = wire.well()

    ledger.ask(api, "gpt-4o", **capped(api, 1))

    assert upstream.calls[0].body[CAPS[api.path]] == 1


@pytest.mark.parametrize(
    "field", [{"reasoning_effort": "high"}, {"thinking": THINKING}], ids=lambda it: next(iter(it))
)
def test_thoughts_raise_no_limit_beyond_the_models_own(
    ledger: Ledger, upstream: FakeLiteLLM, field: dict[str, Any]
) -> None:
    upstream.default = wire.well()

    ledger.ask(CHAT, "gpt-4o", **field)

    limit = ledger.catalog.models["gpt-4o"].max_output_tokens
    assert upstream.calls[0].body["max_tokens"] == limit
