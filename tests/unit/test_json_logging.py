from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from logging.config import DictConfigurator
from typing import Any

import pytest

from app.config.settings import PROJECT_ROOT
from app.utils.json_logging import RequestIdFilter, logging_config, request_id_var

CONFIGURED = """
import logging.config
from app.utils.json_logging import logging_config
logging.config.dictConfig(logging_config("INFO"))
"""


@pytest.fixture
def request_id() -> Iterator[str]:
    token = request_id_var.set("req-1")
    yield "req-1"
    request_id_var.reset(token)


def record(event: str = "http_request", **fields: Any) -> logging.LogRecord:
    logger = logging.getLogger("app.test")
    return logger.makeRecord("app.test", logging.INFO, "f.py", 1, event, (), None, extra=fields)


def line_of(entry: logging.LogRecord) -> dict[str, Any]:
    """Return the line that the configured handler would write."""
    config = logging_config("INFO")
    formatter = DictConfigurator(config).configure_formatter(config["formatters"]["json"])
    RequestIdFilter().filter(entry)
    line: dict[str, Any] = json.loads(formatter.format(entry))
    return line


def test_line_has_the_event_and_its_fields() -> None:
    line = line_of(record(status=200, duration_ms=7))

    assert (line["event"], line["level"], line["logger"]) == ("http_request", "INFO", "app.test")
    assert (line["status"], line["duration_ms"]) == (200, 7)
    assert "timestamp" in line


def test_line_keeps_letters_that_are_not_ascii() -> None:
    assert line_of(record(team="Operações"))["team"] == "Operações"


def test_line_of_a_request_has_its_id(request_id: str) -> None:
    assert line_of(record())["request_id"] == request_id


def test_line_outside_a_request_has_none() -> None:
    assert line_of(record())["request_id"] is None


def test_line_that_names_another_request_keeps_it(request_id: str) -> None:
    assert line_of(record(request_id="req-2"))["request_id"] == "req-2"


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CONFIGURED + program],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )


def test_process_configured_writes_one_line_an_event_to_standard_error() -> None:
    result = run("logging.getLogger('x').info('hello', extra={'n': 1})")

    assert result.stdout == ""
    assert json.loads(result.stderr)["n"] == 1


def test_filter_never_drops_a_record() -> None:
    assert RequestIdFilter().filter(record())


def test_process_configured_drops_what_is_below_its_level() -> None:
    assert run("logging.getLogger('x').debug('hello')").stderr == ""


def test_process_configured_writes_gunicorns_lines_once() -> None:
    assert run("logging.getLogger('gunicorn.error').info('up')").stderr.count("\n") == 1
