"""`POST /api/webhooks/litellm`: who is believed, what is taken, and what follows. Real Postgres."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import create_engine

from app.audit.chain import AuditKeys
from app.audit.verify import verify_trail
from app.config.settings import DatabaseSettings, Settings
from app.embedded.network import free_port
from app.events.delivery import MAX_DELIVERY_BYTES
from app.extensions import services_of
from app.serving.flask_app import SolarisFlask
from tests.asgi_client import AsgiClient, Reply
from tests.audit.trail import recorded
from tests.conftest import WEBHOOK_SECRET
from tests.events.deliveries import (
    DATA,
    PATH,
    Headers,
    encoded,
    event,
    lines,
    payload,
    signed,
    signed_standard,
)
from tests.events.stored import effects, rows, waiting_bytes
from tests.fakes.clock import FakeClock
from tests.mutations import mutated

StartAsgi = Callable[..., AsgiClient]

PREVIOUS = "whsec_cHJldmlvdXMtc2VjcmV0LWZvci10aGUtdGVzdHM="
A_THOUSAND = hypothesis_settings(
    max_examples=1000,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def client(start_asgi: StartAsgi) -> AsgiClient:
    return start_asgi()


@pytest.fixture
def detached(start_asgi: StartAsgi, settings: Settings) -> AsgiClient:
    """A receiver whose Postgres never answers: what it accepts stays on its disk."""
    nowhere = f"postgresql+psycopg2://127.0.0.1:{free_port()}/nowhere"
    return start_asgi(settings=replace(settings, database=DatabaseSettings(nowhere, nowhere)))


def post(client: AsgiClient, body: bytes, headers: Headers, **more: str) -> Reply:
    return client.call("POST", PATH, [*headers.items(), *more.items()], body)


def said(reply: Reply) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(reply.body)
    return found


def code_of(reply: Reply) -> str:
    return str(said(reply)["error"]["code"])


def lines_on_disk(settings: Settings, name: str) -> list[bytes]:
    files = sorted((settings.server.state_dir / name).glob("*.events"))
    return [line for path in files for line in path.read_bytes().splitlines()]


# --- what is taken -------------------------------------------------------------------------------


def test_five_events_in_any_order_are_stored_and_on_record(
    client: AsgiClient, settings: Settings
) -> None:
    # The end before its start.
    events = [event(kind, id=f"e-{kind}") for kind in sorted(DATA)]

    reply = post(client, encoded(events), signed(encoded(events)))

    assert (reply.status, said(reply)) == (
        200,
        {"status": "processed", "accepted": 5, "ignored": 0, "rejected": 0, "problems": []},
    )
    stored = {it["event_type"]: it for it in rows(settings.database.url, 5)}
    assert {kind: it["id"] for kind, it in stored.items()} == {kind: f"e-{kind}" for kind in DATA}
    on_record = {it["kind"]: it for it in effects(settings.database.url, 5)}
    end, limit = on_record["litellm_request_end"], on_record["rate_limit_hit"]
    assert (end["input_tokens"], end["output_tokens"], end["cost_micro_usd"]) == (21, 5, 1250)
    assert (end["asked"], end["latency_ms"], end["at"]) == (
        "gpt-4",
        812,
        stored["request_end"]["at"],
    )
    assert (on_record["litellm_request_error"]["status"], on_record["model_fallback"]["used"]) == (
        429,
        "gpt-4o",
    )
    assert limit["detail"] == {
        "limit_type": "tpm",
        "current_usage": 50_001,
        "limit": 50_000,
        "request_id": "r-1",
    }
    # Nobody's name: LiteLLM says a pseudonym.
    assert {it["person"] for it in on_record.values()} == {None}


def packed(body: bytes) -> tuple[bytes, Headers]:
    packed = gzip.compress(body)
    return packed, {**signed(packed), "Content-Encoding": "gzip"}


def test_every_form_of_delivery_is_taken(client: AsgiClient, settings: Settings) -> None:
    one, two = event(id="e-1"), event("request_end", id="e-2")
    bearer = {"Authorization": f"Bearer {WEBHOOK_SECRET}"}
    failure = payload(litellm_call_id="c-2", status="failure")
    deliveries: dict[str, tuple[bytes, Headers, int]] = {
        "one": (encoded(one), signed(encoded(one)), 1),
        "array": (encoded([one, two]), signed(encoded([one, two])), 2),
        "lines": (lines(one, two), signed_standard(lines(one, two)), 2),
        "gzip": (*packed(encoded(event(id="e-3"))), 1),
        "payload": (encoded(payload()), bearer, 1),
        "payloads": (encoded([payload(), failure]), bearer, 2),
        "lines of payloads": (lines(payload(), failure), bearer, 2),
    }

    answers = {
        name: (reply.status, said(reply)["accepted"])
        for name, (body, headers, _) in deliveries.items()
        for reply in [post(client, body, headers)]
    }

    assert answers == {name: (200, count) for name, (_, _, count) in deliveries.items()}
    kinds = [(it["event_type"], it["request_id"]) for it in rows(settings.database.url, 5)]
    assert sorted(kinds) == [
        ("request_end", "c-1"),
        ("request_end", "r-1"),
        ("request_error", "c-2"),
        ("request_start", "r-1"),
        ("request_start", "r-1"),
    ]


def test_delivery_repeated_has_one_row_and_one_effect(
    client: AsgiClient, settings: Settings
) -> None:
    anonymous = event("request_error")
    del anonymous["id"]
    body = encoded(anonymous)

    for delivery_id in ("msg-1", "msg-1", "msg-2"):
        # Only what is signed names an event: whoever repeats one could call it anything.
        assert post(client, body, {**signed(body), "webhook-id": delivery_id}).status == 200
    post(client, encoded(event(id="last")), signed(encoded(event(id="last"))))

    assert len(rows(settings.database.url, 2)) == 2
    assert len(effects(settings.database.url, 2)) == 2


def test_name_that_is_no_model_is_stored_but_not_on_record(
    client: AsgiClient, settings: Settings
) -> None:
    body = encoded(event(model="meu-segredo"))

    post(client, body, signed(body))

    assert [it["model"] for it in rows(settings.database.url, 1)] == ["meu-segredo"]
    assert [it["asked"] for it in effects(settings.database.url, 1)] == ["(unknown)"]


def test_delivery_with_bad_elements_tells_them_and_takes_the_others(
    client: AsgiClient, settings: Settings
) -> None:
    later = {**event(), "event_type": "budget_alert"}
    body = encoded([event(id="e-1"), {}, event(request_id=7.5), later, event(id="e-2")])

    reply = post(client, body, signed(body))

    assert said(reply) == {
        "status": "processed",
        "accepted": 2,
        "ignored": 1,
        "rejected": 2,
        "problems": [
            {"index": 1, "field": "event_type", "problem": "required"},
            {"index": 2, "field": "data.request_id", "problem": "not_text"},
        ],
    }
    assert [it["id"] for it in rows(settings.database.url, 2)] == ["e-1", "e-2"]


def test_event_of_another_kind_is_counted_and_answered(client: AsgiClient) -> None:
    body = encoded({"event_type": "budget_alert", "data": None})

    replies = [post(client, body, signed(body)) for _ in range(3)]

    assert [(it.status, said(it)["ignored"]) for it in replies] == [(200, 1)] * 3
    assert client.server.services.events.unknown_kinds == {"budget_alert": 3}


def test_kinds_that_are_made_up_are_counted_together(client: AsgiClient) -> None:
    body = encoded([{"event_type": f"made_up_{number}"} for number in range(1000)])

    post(client, body, signed(body))

    kinds = client.server.services.events.unknown_kinds
    assert (len(kinds), sum(kinds.values())) == (51, 1000)


def test_single_event_that_is_none_is_400_and_names_the_field(client: AsgiClient) -> None:
    body = encoded(event("request_end", usage={"prompt_tokens": -5}))

    reply = post(client, body, signed(body))

    error = said(reply)["error"]
    assert (reply.status, error["param"]) == (400, "data.usage.prompt_tokens")
    assert "data.usage.prompt_tokens" in error["message"]


def test_delivery_in_which_nothing_is_an_event_is_400_and_names_the_first(
    client: AsgiClient,
) -> None:
    body = encoded([event("request_end", cost="much"), 7])

    reply = post(client, body, signed(body))

    error = said(reply)["error"]
    assert (reply.status, error["param"]) == (400, "[0].data.cost")


# --- who is believed -----------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [WEBHOOK_SECRET, PREVIOUS])
def test_two_secrets_are_good_in_every_form_until_one_is_revoked(
    start_asgi: StartAsgi, settings: Settings, secret: str
) -> None:
    def serving(*secrets: str) -> AsgiClient:
        return start_asgi(
            settings=replace(settings, security=replace(settings.security, webhook_secrets=secrets))
        )

    body = encoded(event())
    forms = [
        signed(body, secret),
        signed_standard(body, secret),
        {"Authorization": f"Bearer {secret}"},
    ]

    both, revoked = serving(WEBHOOK_SECRET, PREVIOUS), serving("a-third-secret-for-the-tests")

    assert [post(both, body, it).status for it in forms] == [200] * 3
    assert [post(revoked, body, it).status for it in forms] == [401] * 3


@pytest.mark.parametrize(("seconds", "status"), [(-299, 200), (299, 200), (-301, 401), (301, 401)])
def test_signed_time_may_be_five_minutes_away(
    start_asgi: StartAsgi, seconds: int, status: int
) -> None:
    clock = FakeClock()
    client = start_asgi(lambda app: set_clock(app, clock))
    body = encoded({**event(), "timestamp": clock.now().isoformat()})
    at_s = clock.now().timestamp() + seconds

    reply = post(client, body, signed_standard(body, at_s=at_s))

    assert reply.status == status


def set_clock(app: SolarisFlask, clock: FakeClock) -> None:
    services_of(app).events._clock = clock


FORGED_HEADERS = [
    "X-Signature-256",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "Authorization",
]
BODY = encoded([event(id="forged"), event("request_error", id="forged-2")])
# What h11 and gunicorn let through: any byte of latin-1 but the controls.
HEADER_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=80)


@st.composite
def forged(draw: st.DrawFn) -> tuple[bytes, Headers]:
    """A good delivery with something changed that is signed, or the signature itself."""
    standard = draw(st.booleans())
    headers = signed_standard(BODY) if standard else signed(BODY)
    change = draw(st.sampled_from(["body", "secret", "header", "missing", "junk"]))
    body = BODY
    if change == "body":
        place = draw(st.integers(0, len(BODY) - 1))
        body = BODY[:place] + bytes([BODY[place] ^ draw(st.integers(1, 255))]) + BODY[place + 1 :]
    elif change == "secret":
        secret = draw(st.text(st.characters(codec="ascii"), min_size=1, max_size=40))
        headers = signed_standard(BODY, f"x{secret}") if standard else signed(BODY, f"x{secret}")
    elif change == "missing":
        del headers[draw(st.sampled_from(sorted(headers)))]
    elif change == "header":
        name = draw(st.sampled_from(sorted(headers)))
        headers[name] = f"{headers[name][:-1]}{draw(HEADER_TEXT.filter(bool))}"
    else:
        names = st.sampled_from(FORGED_HEADERS)
        headers = draw(st.dictionaries(names, HEADER_TEXT, min_size=1))
    return body, headers


def test_thousand_forged_deliveries_are_401_and_leave_nothing(
    detached: AsgiClient, settings: Settings
) -> None:
    genuine = {name: {signed(BODY)[name]} for name in signed(BODY)}
    refused = 0
    began_at_s = time.monotonic()

    @A_THOUSAND
    @given(forged())
    def deliver(delivery: tuple[bytes, Headers]) -> None:
        nonlocal refused
        body, headers = delivery
        if body == BODY and headers.get("X-Signature-256") in genuine["X-Signature-256"]:
            return  # what was changed came out the same
        reply = post(detached, body, headers)
        assert (reply.status, code_of(reply)) == (401, "invalid_signature")
        refused += 1

    deliver()

    assert refused > 900
    assert waiting_bytes(settings.server.state_dir) == 0
    # Ten a second are on record, not each of them.
    took_s = time.monotonic() - began_at_s
    on_record = lines_on_disk(settings, "audit")
    assert 10 <= len(on_record) <= 10 * (took_s + 2)


def test_refused_delivery_is_on_record_with_its_reason_and_address(
    client: AsgiClient, settings: Settings
) -> None:
    body = encoded(event())

    post(client, body, {})
    post(client, body, signed(body, "another-secret"))
    post(client, body, signed_standard(body, at_s=1_700_000_000))

    refused = [it for it in recorded(settings.database.url, 3) if it["kind"] == "webhook_refused"]
    reasons = [it["detail"]["reason"] for it in refused]
    assert sorted(reasons) == ["bad_signature", "stale", "unsigned"]
    assert {it["status"] for it in refused} == {401}
    assert {it["private"]["ip"] for it in refused} == {"127.0.0.1"}
    assert client.server.services.audit.make_durable()


# --- what is malformed ---------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
WRONG_IDS = st.one_of(
    st.none(), st.just(""), st.lists(st.integers()), st.booleans(), st.floats(), st.just("\x00")
)


def dumped(document: Any) -> bytes:
    try:
        return orjson.dumps(document)
    except (TypeError, orjson.JSONEncodeError):
        return b"{"


@st.composite
def malformed(draw: st.DrawFn) -> bytes:
    """A body in which nothing is an event."""
    kind = draw(st.sampled_from(["bytes", "cut", "json", "list", "no_id", "field", "payload"]))
    if kind == "bytes":
        return draw(st.binary(max_size=200).filter(lambda it: b"event_type" not in it)) + b"\xff"
    if kind == "cut":
        return BODY[: draw(st.integers(0, len(BODY) - 1))]
    if kind in ("json", "list"):
        document = draw(JSON if kind == "json" else st.lists(JSON, max_size=5))
        return dumped(document)
    if kind == "no_id":
        name = draw(st.sampled_from(["request_start", "request_end", "model_fallback"]))
        return dumped(event(name, request_id=draw(WRONG_IDS)))
    if kind == "payload":
        return dumped(
            payload(status=draw(JSON.filter(lambda it: it not in ("success", "failure"))))
        )
    place = draw(st.sampled_from(["prompt_tokens", "completion_tokens"]))
    bad = st.sampled_from([-1, 2**31, "x", [], {}, True, "NaN", 1e300, "1e300"])
    return dumped(event("request_end", usage={place: draw(bad)}))


def test_thousand_malformed_deliveries_are_400_and_leave_nothing(
    detached: AsgiClient, settings: Settings
) -> None:
    refused = 0

    @A_THOUSAND
    @given(malformed(), st.sampled_from(["", "gzip", "br"]), st.booleans())
    def deliver(body: bytes, encoding: str, is_packed: bool) -> None:
        nonlocal refused
        body = gzip.compress(body, 1) if is_packed else body
        headers = signed(body) | ({"Content-Encoding": encoding} if encoding else {})
        reply = post(detached, body, headers)
        assert (reply.status, code_of(reply)) == (400, "invalid_request_error")
        assert said(reply)["error"]["message"]
        refused += 1

    deliver()

    assert refused >= 1000
    assert waiting_bytes(settings.server.state_dir) == 0


def test_mutated_deliveries_are_never_our_failure_and_store_what_they_say(
    detached: AsgiClient, settings: Settings
) -> None:
    accepted = 0
    good = {**event("request_end"), "more": [event("rate_limit_hit"), payload()]}

    @hypothesis_settings(A_THOUSAND, max_examples=500)
    @given(mutated(good), st.booleans())
    def deliver(body: bytes, as_lines: bool) -> None:
        nonlocal accepted
        body = body + b"\n" + body if as_lines else body
        reply = post(detached, body, signed(body))
        assert reply.status in {200, 400, 413}, reply.body
        accepted += said(reply)["accepted"] if reply.status == 200 else 0

    deliver()

    assert accepted > 100
    assert len(lines_on_disk(settings, "events")) == accepted


def test_forms_of_bad_headers_are_no_failure(client: AsgiClient) -> None:
    body = encoded(event())
    odd = [
        {"Content-Type": "text/plain; charset=utf-7"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Encoding": "çã, gzip"},
        {"Content-Encoding": "deflate"},
        {"Transfer-Encoding": "gzip"},
        {"X-Forwarded-For": "çã, ,,"},
    ]

    statuses = [post(client, body, {**signed(body), **headers}).status for headers in odd]

    assert statuses == [200, 200, 400, 400, 200, 200]


# --- how much is taken ---------------------------------------------------------------------------

TEN_MB = 10 * 1024 * 1024
PIECE = bytes(64 * 1024)


@pytest.mark.parametrize("headers", [{}, {"content-length": str(TEN_MB)}], ids=["pieces", "length"])
def test_body_of_ten_megabytes_is_413_and_not_kept(start_asgi: StartAsgi, headers: Headers) -> None:
    # There is no room for it: were it kept, the answer would be 503.
    client = start_asgi(max_buffered_body_bytes=MAX_DELIVERY_BYTES + len(PIECE))

    reply = client.call("POST", PATH, headers.items(), [PIECE] * (TEN_MB // len(PIECE)))

    assert (reply.status, code_of(reply)) == (413, "request_too_large")
    assert "1 MB" in said(reply)["error"]["message"]


def test_body_that_is_announced_as_huge_is_refused_before_it_comes(client: AsgiClient) -> None:
    exchange = client.exchange("POST", PATH, [("content-length", str(10**12))])
    # Nothing is sent: whoever waited for it would wait for ever.
    exchange._incoming.get_nowait()

    reply = client.run(exchange.run())

    assert (reply.status, code_of(reply)) == (413, "request_too_large")


def test_bomb_is_413(client: AsgiClient) -> None:
    bomb = gzip.compress(bytes(200 * 1024 * 1024), 9)

    reply = post(client, bomb, {**signed(bomb), "Content-Encoding": "gzip"})

    assert (reply.status, code_of(reply)) == (413, "request_too_large")


# --- when something is away ----------------------------------------------------------------------


def test_spool_that_is_full_is_503_and_says_when_to_come_back(
    start_asgi: StartAsgi, settings: Settings
) -> None:
    nowhere = f"postgresql+psycopg2://127.0.0.1:{free_port()}/nowhere"
    small = replace(
        settings,
        database=DatabaseSettings(nowhere, nowhere),
        audit=replace(settings.audit, spool_max_bytes=2000),
    )
    client = start_asgi(settings=small)
    body = encoded(event("request_end"))
    accepted = 0
    while (reply := post(client, body, signed(body))).status == 200:
        accepted += 1

    assert (reply.status, code_of(reply)) == (503, "audit_unavailable")
    assert reply.header("Retry-After") == "10"
    assert 0 < accepted < 10
    assert 0 < waiting_bytes(settings.server.state_dir) <= 2000


def test_what_one_worker_left_on_disk_another_stores(
    start_asgi: StartAsgi, settings: Settings, detached: AsgiClient
) -> None:
    body = encoded([event("request_end", id=f"e-{number}") for number in range(3)])
    assert post(detached, body, signed(body)).status == 200
    detached.run(detached.server.services.events.close())

    start_asgi()

    assert len(rows(settings.database.url, 3)) == 3
    assert len(effects(settings.database.url, 3)) == 3


def test_trail_with_events_of_litellm_verifies(client: AsgiClient, settings: Settings) -> None:
    body = encoded([event(kind) for kind in DATA])

    post(client, body, signed(body))

    effects(settings.database.url, 5)
    assert verified(settings)


def verified(settings: Settings) -> bool:
    engine = create_engine(settings.database.url)
    try:
        return verify_trail(engine, AuditKeys(settings.audit.hmac_keys)).finding is None
    finally:
        engine.dispose()
