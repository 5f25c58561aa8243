from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar

import pytest

from app.config.settings import PROJECT_ROOT
from app.utils.background_loop import BackgroundLoop

marker: ContextVar[str] = ContextVar("marker", default="unset")

# A worker that gunicorn forks inherits the loop object, but not the thread that runs it.
IN_A_FORK = """
import asyncio, os
from app.utils.background_loop import BackgroundLoop
loop = BackgroundLoop()
loop.run(asyncio.sleep(0))
child = os.fork()
if child == 0:
    os._exit(loop.run(asyncio.sleep(0, 42)))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture
def loop() -> Iterator[BackgroundLoop]:
    background = BackgroundLoop()
    yield background
    background.stop()


async def identity() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def words(*spoken: str | None) -> AsyncIterator[str | None]:
    for word in spoken:
        await asyncio.sleep(0)
        yield word


def test_coroutine_run_returns_its_value(loop: BackgroundLoop) -> None:
    assert loop.run(asyncio.sleep(0, "done")) == "done"


def test_coroutine_run_raises_its_error(loop: BackgroundLoop) -> None:
    async def fail() -> None:
        raise LookupError("lost")

    with pytest.raises(LookupError, match="lost"):
        loop.run(fail())


def test_coroutine_run_sees_the_callers_context_variables(loop: BackgroundLoop) -> None:
    async def read() -> str:
        return marker.get()

    token = marker.set("ours")
    seen = loop.run(read())
    marker.reset(token)

    assert seen == "ours"


def test_coroutines_of_many_threads_share_one_loop(loop: BackgroundLoop) -> None:
    seen: list[asyncio.AbstractEventLoop] = []
    threads = [threading.Thread(target=lambda: seen.append(loop.run(identity()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(seen) == 8
    assert len(set(map(id, seen))) == 1


def test_coroutine_run_on_the_loop_itself_is_refused(loop: BackgroundLoop) -> None:
    async def wait_for_itself() -> None:
        loop.run(asyncio.sleep(0))

    with pytest.raises(RuntimeError, match="await instead"):
        loop.run(wait_for_itself())


def test_iterator_yields_on_the_callers_thread_what_the_loop_fetched(loop: BackgroundLoop) -> None:
    assert list(loop.iterate(words("a", None, ""))) == ["a", None, ""]


def test_iterator_of_nothing_ends_at_once(loop: BackgroundLoop) -> None:
    assert list(loop.iterate(words())) == []


def test_iterator_that_fails_raises_after_what_it_yielded(loop: BackgroundLoop) -> None:
    async def fail_second() -> AsyncIterator[str]:
        yield "first"
        raise LookupError("lost")

    chunks = loop.iterate(fail_second())
    assert next(chunks) == "first"

    with pytest.raises(LookupError):
        next(chunks)


def test_loop_adopted_runs_the_coroutines(loop: BackgroundLoop) -> None:
    async def serve() -> bool:
        ours = asyncio.get_running_loop()
        loop.adopt(ours)
        return await asyncio.to_thread(loop.run, identity()) is ours

    assert asyncio.run(serve())


def test_loop_adopted_is_left_to_its_owner_when_stopped(loop: BackgroundLoop) -> None:
    async def serve() -> bool:
        loop.adopt(asyncio.get_running_loop())
        loop.stop()
        await asyncio.sleep(0)
        return True

    assert asyncio.run(serve())


def test_loop_adopted_and_closed_is_replaced(loop: BackgroundLoop) -> None:
    async def serve() -> None:
        loop.adopt(asyncio.get_running_loop())

    asyncio.run(serve())

    assert loop.run(asyncio.sleep(0, "done")) == "done"


def test_loop_stopped_leaves_no_thread_behind() -> None:
    background = BackgroundLoop()
    background.run(asyncio.sleep(0))
    background.stop()
    background.stop()

    assert "background-loop" not in [thread.name for thread in threading.enumerate()]


def test_loop_stopped_starts_again_when_it_is_used(loop: BackgroundLoop) -> None:
    first = loop.run(identity())
    loop.stop()

    assert loop.run(identity()) is not first


def test_loop_used_before_a_fork_runs_in_the_child_too() -> None:
    result = subprocess.run(
        [sys.executable, "-c", IN_A_FORK],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert result.stdout == "42\n", result.stderr
