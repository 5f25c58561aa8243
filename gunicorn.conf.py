"""gunicorn, as `solaris serve` runs it: everything comes from the product's own settings."""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import Any

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.glogging import Logger

from app.config.settings import load_settings
from app.metrics import shared_files
from app.utils.json_logging import logging_config

_settings = load_settings()
_metrics_folder = shared_files.make_folder(_settings.server.state_dir)
# Before anything imports prometheus-client, which then counts in files that workers share.
os.environ[shared_files.VARIABLE] = str(_metrics_folder)


ACCEPTORS = 16


class logger_class(Logger):  # type: ignore[misc]  # noqa: N801  # gunicorn's name for the setting
    """gunicorn's logger without the access log: the application has a line of its own, with ids."""

    access_log_enabled = False


class _Connection(ASGIProtocol):  # type: ignore[misc]
    """gunicorn's connection, without the cycle that it leaves in memory.

    The parser holds the connection's methods and the connection holds the parser. Python's
    collector has to find each; where gunicorn's parser in C is installed it cannot, and 10 KB
    stayed of every connection for ever.
    """

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        if self._task is None:
            self._callback_parser = None
        else:
            self._task.add_done_callback(self._let_go)

    def _let_go(self, _task: Any) -> None:
        self._callback_parser = None


wsgi_app = "app.asgi:create_asgi_app()"
bind = f"{_settings.server.host}:{_settings.server.port}"
workers = _settings.server.workers
worker_class = "asgi"
# The asgi worker's heartbeat; a worker whose loop is blocked this long is replaced.
timeout = 30
graceful_timeout = _settings.server.drain_grace_s
# Longer than nginx keeps an idle upstream connection (60 s), so that nginx is who closes it.
keepalive = 75
# The header of a call carries names, a JWT and traces; LiteLLM's own answers carry more.
limit_request_field_size = 16 * 1024
forwarded_allow_ips = _settings.server.forwarded_allow_ips
control_socket_disable = True
logconfig_dict = logging_config(_settings.log_level)


def on_starting(_arbiter: Any) -> None:
    shared_files.clear(_metrics_folder)


def on_exit(_arbiter: Any) -> None:
    shared_files.leave(_metrics_folder)


def child_exit(_arbiter: Any, worker: Any) -> None:
    shared_files.forget_gauges(_metrics_folder, worker.pid)


def post_fork(_arbiter: Any, worker: Any) -> None:
    """Let TERM end a worker that is still starting.

    It serves nobody yet. gunicorn leaves TERM to the loop, which does not run before everything is
    imported: what came until then was lost, and the whole of DRAIN_GRACE was waited for it.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    worker.init_signals = partial(_init_signals_but_term, worker.init_signals)


def _init_signals_but_term(init_signals: Any) -> None:
    init_signals()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def post_worker_init(worker: Any) -> None:
    worker.loop.add_signal_handler(signal.SIGTERM, worker.handle_exit_signal)
    # The asgi worker waits for open requests on TERM, and then kills them without a word.
    worker.asgi.watch_worker(lambda: worker.alive, worker.handle_quit_signal)
    worker.loop.create_server = partial(_create_servers, worker, worker.loop.create_server)


async def _create_servers(worker: Any, create_server: Any, _factory: Any, **options: Any) -> Any:
    """Listen as gunicorn was told to, with several acceptors on the one socket.

    gunicorn leaves the backlog to asyncio, whose 100 undoes its own 2,048; and libuv accepts one
    connection an acceptor and turn of the loop, so that under many streams, whose turns are long,
    new callers were measured to wait 4 s.
    """
    factory = partial(_Connection, worker)
    listener, options["backlog"] = options.pop("sock"), worker.cfg.backlog
    for _ in range(ACCEPTORS - 1):
        worker.servers.append(await create_server(factory, sock=listener.dup(), **options))
    return await create_server(factory, sock=listener, **options)
