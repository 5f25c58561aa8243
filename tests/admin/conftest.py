"""What tests of `/api/admin` share: a caller, and a trail that has something in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, create_engine
from werkzeug.test import TestResponse

from tests.conftest import ADMIN_KEY

Ask = Callable[..., TestResponse]


@pytest.fixture
def ask(client: FlaskClient) -> Ask:
    """Ask as the administrator: ``ask("GET", "/usage", group_by="user")``, ``json={…}``."""

    def send(
        method: str, path: str, *, as_key: str = ADMIN_KEY, json: Any = None, **query: Any
    ) -> TestResponse:
        headers = {"Authorization": f"Bearer {as_key}"}
        url = f"/api/admin{path}"
        return client.open(url, method=method, headers=headers, json=json, query_string=query)

    return send


@pytest.fixture
def engine(clean_database: str) -> Iterator[Engine]:
    engine = create_engine(clean_database)
    yield engine
    engine.dispose()
