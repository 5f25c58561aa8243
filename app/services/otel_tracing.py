"""Traces by OpenTelemetry, over OTLP/HTTP; the SDK reads its own `OTEL_…` variables.

Names of attributes: OpenTelemetry's semantic conventions for HTTP and generative AI.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import (
    SERVICE_NAME,
    SERVICE_VERSION,
    OTELResourceDetector,
    Resource,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.audit.event import AuditEvent
from app.services.tracing import CallSpan, Headers, Tracing
from app.utils.exceptions import SolarisError
from app.version import __version__

OUR_NAME = "ia-solaris-proxy"
FIRST_SERVER_ERROR = 500
W3C = TraceContextTextMapPropagator()


class OtelTracing(Tracing):
    """One an application; sends in batches, from a thread of its own."""

    def __init__(self) -> None:
        # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say stands.
        ours = Resource({SERVICE_NAME: OUR_NAME, SERVICE_VERSION: __version__})
        theirs = OTELResourceDetector().detect()
        self._provider = TracerProvider(resource=Resource.create().merge(ours).merge(theirs))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(OUR_NAME, __version__)

    def begin(self, name: str, request_id: str, headers: Headers) -> CallSpan:
        span = self._tracer.start_span(
            name,
            context=W3C.extract({it: headers.get(it) or "" for it in W3C.fields}),
            kind=SpanKind.SERVER,
            attributes={"solaris.request_id": request_id},
        )
        return OtelCallSpan(self._tracer, span)

    def close(self) -> None:
        self._provider.shutdown()


class OtelCallSpan(CallSpan):
    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span

    @contextmanager
    def attempt(self, model: str) -> Iterator[Mapping[str, str]]:
        context = set_span_in_context(self._span)
        attempt = self._tracer.start_span(
            f"ask {model}",
            context=context,
            kind=SpanKind.CLIENT,
            attributes={"gen_ai.request.model": model},
        )
        headers: dict[str, str] = {}
        W3C.inject(headers, set_span_in_context(attempt, context))
        try:
            yield headers
        except SolarisError as error:
            _failed(attempt, error.cause)
            raise
        finally:
            attempt.end()

    def end(self, event: AuditEvent) -> None:
        for name, value in _facts(event).items():
            if value is not None:
                self._span.set_attribute(name, value)
        if (event.status or 0) >= FIRST_SERVER_ERROR:
            _failed(self._span, str(event.detail.get("reason")))
        self._span.end()


def _facts(event: AuditEvent) -> dict[str, str | int | None]:
    usage = event.usage
    return {
        "http.response.status_code": event.status,
        "gen_ai.request.model": event.model,
        "gen_ai.response.model": event.model_used,
        "gen_ai.usage.input_tokens": usage.input_tokens if usage else None,
        "gen_ai.usage.output_tokens": usage.output_tokens if usage else None,
        "solaris.cost_micro_usd": event.cost_micro_usd,
        "solaris.reason": event.detail.get("reason"),
    }


def _failed(span: Span, cause: str) -> None:
    span.set_attribute("error.type", cause)
    span.set_status(Status(StatusCode.ERROR, cause))
