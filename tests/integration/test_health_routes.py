"""The addresses that need no key: what whoever opens them in a browser, or watches us, is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from app import create_app
from app.config.settings import Settings
from app.version import __version__


def test_root_says_what_this_is_and_where_to_go(client: FlaskClient) -> None:
    response = client.get("/")

    assert response.status_code == 200
    assert response.get_json() == {
        "name": "IA SOLARIS Proxy",
        "version": __version__,
        "message": "Isto é uma API: em seu cliente, use este endereço seguido de /v1, com a "
        "chave que o administrador lhe der.",
        "base_url": "/v1",
        "models": "/v1/models",
        "status": "/readyz",
    }


def test_root_follows_the_locale(settings: Settings) -> None:
    app = create_app(replace(settings, locale="en"))

    message = app.test_client().get("/").get_json()["message"]

    app.background_loop.stop()
    assert message.startswith("This is an API")


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("POST", 405)])
def test_root_is_for_reading(client: FlaskClient, method: str, status: int) -> None:
    assert client.open("/", method=method).status_code == status


def test_root_opens_nothing_else(client: FlaskClient) -> None:
    assert client.get("/anything").status_code == 404
