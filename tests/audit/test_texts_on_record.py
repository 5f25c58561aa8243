"""Prompts and answers are kept only where that is asked for, masked, and as their persons' own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest
from sqlalchemy import create_engine, text

from app.audit.chain import AuditKeys
from app.audit.content import Content, ContentStore
from app.config.settings import AuditSettings, Settings
from tests import wire
from tests.asgi_client import AsgiClient
from tests.fakes.litellm import FakeLiteLLM, sse, stream
from tests.ledger.served import CHAT, Served
from tests.waiting import wait_until
from tests.wire import APIS, Api

CPF = "529.982.247-25"
EVENTS = "SELECT event_id::text FROM audit_contents ORDER BY at"


@pytest.fixture
def keeping(
    start_asgi: Callable[..., AsgiClient], settings: Settings, make_key: Callable[..., str]
) -> Served:
    """A proxy with AUDIT_CONTENT=on."""
    chosen = replace(settings, audit=AuditSettings(keeps_content=True))
    return Served(start_asgi(settings=chosen), make_key(trusted=True))


def kept(settings: Settings) -> Content:
    """Return what is kept of the one call that was made, as soon as it is."""
    engine = create_engine(settings.database.url)
    found: list[str] = []

    def is_there() -> bool:
        with engine.connect() as connection:
            found[:] = connection.execute(text(EVENTS)).scalars()
        return bool(found)

    try:
        wait_until(is_there)
        (event_id,) = found
        content = ContentStore(engine, AuditKeys(settings.audit.hmac_keys)).read(event_id)
    finally:
        engine.dispose()
    assert content is not None
    return content


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("api", [api for api in APIS if api.events], ids=lambda api: api.path)
def test_texts_of_a_call_are_kept(
    keeping: Served, upstream: FakeLiteLLM, settings: Settings, api: Api, is_stream: bool
) -> None:
    upstream.default = wire.well()

    keeping.send(api.asking("gpt-4o", streamed=is_stream), api.path)

    content = kept(settings)
    assert '"oi"' in content.prompt
    assert len(content.answer) > 3


def test_document_that_comes_in_pieces_is_masked(
    keeping: Served, upstream: FakeLiteLLM, settings: Settings
) -> None:
    pieces = ["é ", CPF[:7], CPF[7:], " mesmo"]
    events = [sse({"choices": [{"index": 0, "delta": {"content": it}}]}) for it in pieces]
    upstream.default = stream([*events, b"data: [DONE]\n\n"])
    question = [{"role": "user", "content": f"meu CPF é {CPF}"}]

    keeping.send(orjson.dumps({"model": "gpt-4o", "messages": question, "stream": True}), CHAT)

    content = kept(settings)
    assert CPF not in content.prompt
    assert content.answer == "é [CPF] mesmo"


def test_nothing_is_kept_unless_it_is_asked_for(
    start_asgi: Callable[..., AsgiClient],
    upstream: FakeLiteLLM,
    settings: Settings,
    make_key: Callable[..., str],
) -> None:
    upstream.default = wire.well()
    served = Served(start_asgi(settings=settings), make_key(trusted=True))
    served.ask()
    served.client.server.services.audit.record_action("seen")

    engine = create_engine(settings.database.url)
    seen = text(
        "SELECT count(*) FROM audit_events AS event JOIN audit_names AS name"
        " ON name.id = event.event WHERE name.value = 'seen'"
    )

    def is_seen() -> bool:
        with engine.connect() as connection:
            return bool(connection.execute(seen).scalar_one())

    wait_until(is_seen)
    with engine.connect() as connection:
        assert connection.execute(text(EVENTS)).all() == []
    engine.dispose()
