"""The receiver as it runs in production: gunicorn with its workers, killed, reloaded, without its
Postgres, on a full disk."""

from __future__ import annotations

import contextlib
import http.client
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import orjson
import pytest

from app.config.settings import Settings
from tests.audit.test_full_disk import Disk, disk
from tests.conftest import WEBHOOK_SECRET
from tests.events.deliveries import PATH, Headers, encoded, event, signed, signed_standard
from tests.events.stored import effects, rows
from tests.outages import StartPlace
from tests.servers import ProxyServer
from tests.waiting import wait_until

StartProxy = Callable[..., ProxyServer]

__all__ = ["disk"]

SENDERS = 20
TEN_MB = 10 * 1024 * 1024
# What the design promises of acknowledgements, and more for a machine that is busy.
PROMISED_S, SLACK_S = 0.05, 0.2
# A statement waits for ten seconds, a connection for three.
SILENCE_S = 2.5


@dataclass(frozen=True)
class Answer:
    """``status`` is 0 where the connection broke."""

    status: int
    body: bytes = b""
    retry_after: str | None = None
    took_s: float = 0.0

    @property
    def code(self) -> str:
        return str(orjson.loads(self.body)["error"]["code"])


def post(proxy: ProxyServer, body: bytes, headers: Headers) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
    began_at_s = time.monotonic()
    with contextlib.closing(connection):
        try:
            connection.request("POST", PATH, body, headers)
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException):
            return Answer(0)
        took_s = time.monotonic() - began_at_s
        return Answer(answer.status, said, answer.getheader("Retry-After"), took_s)


def post_at_once(proxy: ProxyServer, bodies: Sequence[bytes]) -> list[Answer]:
    with ThreadPoolExecutor(SENDERS) as senders:
        return list(senders.map(lambda body: post(proxy, body, signed(body)), bodies))


def numbered(count: int) -> dict[str, bytes]:
    return {f"e-{number}": encoded(event(id=f"e-{number}")) for number in range(count)}


def test_hundred_repetitions_at_once_have_one_row_and_one_effect(
    start_proxy: StartProxy, settings: Settings
) -> None:
    proxy = start_proxy(workers=2)
    repeated, last = encoded(event("request_error", id="e-1")), encoded(event(id="e-2"))

    answers = post_at_once(proxy, [repeated] * 100)
    post(proxy, last, signed(last))

    assert [it.status for it in answers] == [200] * 100
    # What came after them all is there, so that any other would be, too.
    assert [it["id"] for it in rows(settings.database.url, 2)] == ["e-1", "e-2"]
    proxy.stop()
    kinds = sorted(it["kind"] for it in effects(settings.database.url, 2))
    assert kinds == ["litellm_request_error", "litellm_request_start"]


def test_ten_megabytes_are_read_to_their_end_and_refused(start_proxy: StartProxy) -> None:
    proxy = start_proxy(workers=1)

    answers = post_at_once(proxy, [bytes(TEN_MB)] * 3)

    assert [(it.status, it.code) for it in answers] == [(413, "request_too_large")] * 3


def test_killed_workers_lose_nothing_that_was_answered_and_repeat_nothing(
    start_proxy: StartProxy, settings: Settings
) -> None:
    proxy = start_proxy(workers=2)
    sent = numbered(150)
    answered: list[str] = []

    def send(name: str) -> None:
        # A sender that hears nothing sends again.
        wait_until(lambda: post(proxy, sent[name], signed(sent[name])).status == 200, 30)
        answered.append(name)

    with ThreadPoolExecutor(SENDERS) as senders:
        sending = [senders.submit(send, name) for name in sent]
        for at_least in (30, 90):
            wait_until(lambda at_least=at_least: len(answered) >= at_least, 30)  # type: ignore[misc]
            proxy.workers[0].kill()
        for it in sending:
            it.result()

    stored = rows(settings.database.url, len(sent), within_s=20)
    assert {it["id"] for it in stored} == set(sent)
    proxy.stop()
    assert len(effects(settings.database.url, len(sent))) == len(sent)


def test_old_secret_is_good_until_it_is_taken_away_and_workers_are_reloaded(
    start_proxy: StartProxy, tmp_path: Path
) -> None:
    current, previous = tmp_path / "current", tmp_path / "previous"
    old, new = WEBHOOK_SECRET, "whsec_bmV3LXNlY3JldC1mb3ItdGhlLXRlc3RzLW9ubHk="
    current.write_text(new)
    previous.write_text(old)
    files = {
        "WEBHOOK_SECRET": "",
        "WEBHOOK_SECRET_FILE": str(current),
        "WEBHOOK_SECRET_PREVIOUS_FILE": str(previous),
    }
    proxy = start_proxy(workers=2, drain_grace_s=4, env=files)
    body = encoded(event(id="e-1"))

    def statuses() -> tuple[int, int]:
        return (
            post(proxy, body, signed(body, old)).status,
            post(proxy, body, signed_standard(body, new)).status,
        )

    both = statuses()
    # The file stays: one that is empty is a mistake, and stops the server.
    previous.write_text(new)
    before = {it.pid for it in proxy.workers}
    proxy.process.send_signal(signal.SIGHUP)
    wait_until(lambda: not before & {it.pid for it in proxy.workers}, 30)

    assert both == (200, 200)
    assert statuses() == (401, 200)


def test_events_are_taken_as_quickly_without_postgres_and_none_is_lost(
    start_place: StartPlace,
) -> None:
    place = start_place("strict")
    sent = numbered(200)
    bodies = list(sent.values())

    with place.postgres.frozen():
        # More than there are threads that might wait for it.
        silent = post_at_once(place.proxy, bodies[:50])
    place.postgres.stop_at_once()
    away = post_at_once(place.proxy, bodies[50:])
    # One after the other, so that it is their own time.
    alone = [post(place.proxy, body, signed(body)) for body in bodies[:50]]
    place.postgres.start_again()

    assert {it.status for it in silent + away + alone} == {200}
    assert median(it.took_s for it in silent) < SILENCE_S
    assert median(it.took_s for it in alone) <= PROMISED_S + SLACK_S
    stored = rows(place.database_url, len(sent), within_s=30)
    assert {it["id"] for it in stored} == set(sent)
    place.proxy.stop()
    assert len(effects(place.database_url, len(sent))) == len(sent)


@pytest.fixture
def on_disk(start_proxy: StartProxy, disk: Disk) -> Iterator[ProxyServer]:
    proxy = start_proxy(workers=1, env={"SPOOL_DIR": str(disk.path)})
    yield proxy
    proxy.stop()


def test_full_disk_is_503_until_there_is_room_and_loses_nothing(
    on_disk: ProxyServer, disk: Disk, settings: Settings
) -> None:
    sent = iter(numbered(2000).items())
    answered: list[str] = []

    def send() -> Answer:
        name, body = next(sent)
        answer = post(on_disk, body, signed(body))
        answered.extend([name] if answer.status == 200 else [])
        return answer

    disk.fill()
    wait_until(lambda: (refused := send()).status == 503 and refused.code)
    refused = send()
    disk.clear()
    wait_until(lambda: send().status == 200)

    assert (refused.status, refused.code, refused.retry_after) == (503, "audit_unavailable", "10")
    stored = {it["id"] for it in rows(settings.database.url, len(answered))}
    # One that was written but not synced may be there although it was refused.
    assert set(answered) <= stored
