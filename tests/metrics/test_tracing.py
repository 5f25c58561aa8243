"""Traces as a collector gets them: a real receiver of OTLP over HTTP."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.config.settings import Settings, load_settings
from tests.asgi_client import AsgiClient
from tests.fakes.litellm import FakeLiteLLM, status
from tests.ledger.served import Served

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}
PROMPT = "pergunta-canaria-que-ninguem-ve"


class Receiver:
    """Takes traces; ``spans`` are all that came."""

    def __init__(self) -> None:
        receiver = self
        self.spans: list[Any] = []
        self.raw = b""

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.take(raw)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, raw: bytes) -> None:
        self.raw += raw
        sent = ExportTraceServiceRequest.FromString(raw)
        self.spans += [
            span
            for resource in sent.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    receiver = Receiver()
    # The SDK reads it itself.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    yield receiver
    receiver.stop()


@pytest.fixture
def traced(
    receiver: Receiver,
    start_asgi: Callable[..., AsgiClient],
    settings: Settings,
    make_key: Callable[..., str],
) -> Served:
    chosen = replace(settings, server=replace(settings.server, is_traced=True))
    return Served(start_asgi(settings=chosen), make_key(trusted=True))


def sent(traced: Served, receiver: Receiver) -> list[Any]:
    """Return the spans, when all have been sent; the call's first."""
    traced.client.server.services.tracing.close()
    return sorted(receiver.spans, key=lambda it: it.kind)


def facts(span: Any) -> dict[str, Any]:
    return {it.key: it.value.string_value or it.value.int_value for it in span.attributes}


def ask(traced: Served, *, model: str = "gpt-4o", is_stream: bool = False) -> Any:
    body = (
        f'{{"model":"{model}","stream":{str(is_stream).lower()},'
        f'"messages":[{{"role":"user","content":"{PROMPT}"}}]}}'
    )
    return traced.send(body.encode(), headers=TRACEPARENT)


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_call_is_a_span_with_one_under_it_in_the_callers_trace(
    traced: Served, receiver: Receiver, upstream: FakeLiteLLM, is_stream: bool
) -> None:
    ask(traced, is_stream=is_stream)

    call, attempt = sent(traced, receiver)
    assert (call.trace_id.hex(), call.parent_span_id.hex()) == (TRACE_ID, PARENT_ID)
    assert (attempt.trace_id, attempt.parent_span_id) == (call.trace_id, call.span_id)
    assert (call.name, attempt.name) == ("POST /v1/chat/completions", "ask gpt-4o")
    said = facts(call)
    assert (said["http.response.status_code"], said["gen_ai.response.model"]) == (200, "gpt-4o")
    assert said["gen_ai.usage.input_tokens"] == 21
    received = upstream.calls[0].headers["traceparent"]
    assert received == f"00-{TRACE_ID}-{attempt.span_id.hex()}-01"


def test_model_that_fails_is_a_span_of_its_own(
    traced: Served, receiver: Receiver, upstream: FakeLiteLLM
) -> None:
    upstream.for_model("gpt-4o", status(500, {"error": {"message": "boom"}}))

    ask(traced)

    call, failed, answered = sent(traced, receiver)
    assert [facts(it).get("error.type") for it in (call, failed, answered)] == [
        None,
        "upstream_error",
        None,
    ]
    assert facts(call)["gen_ai.response.model"] == "gpt-4-turbo"


def test_refused_call_says_why_and_has_no_attempt(traced: Served, receiver: Receiver) -> None:
    ask(traced, model="invented")

    (call,) = sent(traced, receiver)
    assert facts(call)["solaris.reason"] == "model_not_found"


def test_spans_name_no_person_no_key_and_no_text(traced: Served, receiver: Receiver) -> None:
    ask(traced)

    assert sent(traced, receiver)
    for secret in (PROMPT, "ana", traced.key, "olá"):
        assert secret.encode() not in receiver.raw


def test_nothing_is_exported_without_the_variable() -> None:
    code = (
        "import sys; from app import create_app; create_app();"
        "sys.exit('opentelemetry.exporter' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], env={"ENVIRONMENT": "development"}, check=False
    )

    assert done.returncode == 0


def test_variable_switches_tracing_on() -> None:
    variables = {"ENVIRONMENT": "development", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel:4318"}

    assert load_settings(variables).server.is_traced
    assert not load_settings({"ENVIRONMENT": "development"}).server.is_traced
