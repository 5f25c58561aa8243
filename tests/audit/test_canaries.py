"""What people write never reaches a log, the spool, a table or an error, whatever goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import create_engine, text

from app.config.settings import Settings
from tests import wire
from tests.audit.trail import calls_on_record
from tests.fakes.litellm import FakeLiteLLM, cut, raw, status
from tests.raw_http import RawClient, request_bytes
from tests.servers import ProxyServer
from tests.wire import CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES, Api

APIS = (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES)
CPF = "529.982.247-25"
# A document, a key, a prompt, the markup of Slack and of pages, an escape code and a formula.
CANARY = (
    f"=HYPERLINK(canario) {CPF} sk-canary0123456789abcdefghij conte-me um segredo canario"
    " <!channel> canario <script>canario</script> \x1b[31mcanario"
)
# Of a canary what would still tell it, in any of the forms that a log or a row may give it.
MARKS = (b"529.982", b"canary0123", b"canario")
QUOTING = {"error": {"message": CANARY, "type": "canario", "code": "canario"}}
UPSTREAMS: dict[str, Any] = {
    "well": wire.well(),
    "400": status(400, QUOTING),
    "401": status(401, QUOTING),
    "429": status(429, QUOTING),
    "500": status(500, QUOTING),
    "html": raw(f"<html>{CANARY}</html>".encode(), "text/html"),
    "cut": cut(f"data: {CANARY}".encode()),
}


@pytest.fixture
def proxy(start_proxy: Callable[..., ProxyServer]) -> ProxyServer:
    return start_proxy(workers=1, env={"LOG_LEVEL": "DEBUG", "USER_CONCURRENCY": "0"})


def bodies(api: Api) -> Iterator[bytes]:
    """Return bodies that are right, and wrong in several ways, with a canary in each place."""
    asked = orjson.loads(api.asking("gpt-4o"))
    yield orjson.dumps(_with_canary(asked))
    yield orjson.dumps({**_with_canary(asked), "stream": True})
    yield orjson.dumps({**asked, "model": CANARY})
    yield orjson.dumps({**asked, CANARY: CANARY, "temperature": CANARY})
    yield orjson.dumps(_with_canary(asked))[:-3]
    yield orjson.dumps({**asked, "stream": CANARY})


def _with_canary(body: Any) -> Any:
    """Put the canary into every text of a body, but for its model's name."""
    if isinstance(body, dict):
        return {name: it if name == "model" else _with_canary(it) for name, it in body.items()}
    if isinstance(body, list):
        return [_with_canary(it) for it in body]
    return CANARY if isinstance(body, str) and body not in ("user", "text") else body


@pytest.mark.timeout(240)
@pytest.mark.parametrize("trouble", UPSTREAMS)
def test_texts_of_people_reach_no_log_spool_table_or_error(
    proxy: ProxyServer,
    upstream: FakeLiteLLM,
    settings: Settings,
    make_key: Callable[..., str],
    trouble: str,
) -> None:
    upstream.default = UPSTREAMS[trouble]
    key = make_key(trusted=True)
    count = 0
    for api in APIS:
        for body in bodies(api):
            count += 1
            answer = send(proxy, api.path, body, key)
            if trouble != "well":
                assert_clean(_without_model(answer), f"an answer of {api.path}")
    calls_on_record(settings.database.url, count)

    proxy.stop()

    assert_clean(proxy.log.encode(), "the log")
    for path in spool_files(settings):
        assert_clean(path.read_bytes(), path.name)
    for name, content in tables(settings.database.url):
        assert_clean(content, name)


def send(proxy: ProxyServer, path: str, body: bytes, key: str) -> bytes:
    headers = {
        "Authorization": f"Bearer {key}",
        "X-Solaris-Conversation-Id": CPF,
        "X-Solaris-Message-Id": CPF,
        "User-Agent": f"{CPF} canario",
        "X-Forwarded-For": "canario",
        "Connection": "close",
    }
    client = RawClient(proxy.port)
    client.send(request_bytes("POST", f"{path}?canario={CPF}", body, headers))
    answer = client.read_to_end()
    client.leave()
    return answer


def _without_model(answer: bytes) -> bytes:
    """Callers hear again the name of a model, or of a field, that they gave themselves."""
    body = answer.partition(b"\r\n\r\n")[2]
    return b"" if b"model_not_found" in body or b'"param"' in body else body


def spool_files(settings: Settings) -> Iterator[Path]:
    folder = settings.server.state_dir
    yield from (path for path in folder.rglob("*") if path.is_file())


def tables(url: str) -> Iterator[tuple[str, bytes]]:
    engine = create_engine(url)
    names = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    with engine.connect() as connection:
        for name in connection.execute(text(names)).scalars().all():
            rows = connection.execute(text(f'SELECT row_to_json(it)::text FROM "{name}" AS it'))
            yield name, "\n".join(rows.scalars()).encode()
    engine.dispose()


def assert_clean(content: bytes, where: str) -> None:
    found = [mark for mark in MARKS if mark in content]
    assert not found, f"{found[0]!r} in {where}: {_around(content, found[0])!r}"


def _around(content: bytes, mark: bytes) -> bytes:
    at = content.index(mark)
    return content[max(0, at - 120) : at + 80]
