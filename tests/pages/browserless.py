"""Signs in to the pages without a browser, for what no browser needs to see."""

from __future__ import annotations

import re

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import ADMIN_KEY

TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


def form_token(client: FlaskClient, path: str = "/admin/sign-in") -> str:
    """Return what makes a form one of ours."""
    found = TOKEN.search(client.get(path).text)
    assert found is not None, path
    return found[1]


def send(
    client: FlaskClient, path: str, *, at: str = "/admin/sign-in", **said: str
) -> TestResponse:
    """Send a form, as the page ``at`` has it."""
    return client.post(path, data={"csrf_token": form_token(client, at), **said})


def sign_in(client: FlaskClient, key: str = ADMIN_KEY) -> TestResponse:
    return send(client, "/admin/sign-in", key=key)


def enter(client: FlaskClient, link: str) -> TestResponse:
    """Open a sign-in link and go on."""
    path = link[link.index("/me/") :]
    return send(client, path, at=path)
