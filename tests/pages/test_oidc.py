"""Signing in to `/me` with the company's account: a real provider on a port, the whole exchange."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import httpx2 as httpx
import pytest
from flask.testing import FlaskClient
from joserfc.jwk import RSAKey
from werkzeug.test import TestResponse

from app import create_app
from app.config.settings import OidcSettings, PageSettings, Settings
from app.extensions import db, services_of
from app.serving.flask_app import SolarisFlask
from tests.fakes.identity_provider import CLIENT_ID, CLIENT_SECRET, FakeIdentityProvider


@pytest.fixture
def provider() -> Iterator[FakeIdentityProvider]:
    fake = FakeIdentityProvider().start()
    yield fake
    fake.stop()


@pytest.fixture
def settings(settings: Settings, provider: FakeIdentityProvider) -> Settings:
    oidc = OidcSettings(provider.url, CLIENT_ID, CLIENT_SECRET)
    return replace(settings, pages=PageSettings(oidc=oidc))


@pytest.fixture
def ana(app: SolarisFlask) -> str:
    services_of(app).people.create_person("ana", {"email": "Ana@Exemplo.com.br"})
    return "ana"


def come_back(client: FlaskClient) -> TestResponse:
    """Go to the provider and come back with what it says."""
    away = client.get("/me/oidc")
    assert away.status_code == 302, away.text
    back = urlsplit(httpx.get(str(away.location)).headers["location"])
    return client.get(f"{back.path}?{back.query}")


def test_person_with_a_verified_address_is_signed_in(
    client: FlaskClient, provider: FakeIdentityProvider, ana: str
) -> None:
    provider.claims = {"email": "ana@exemplo.com.br", "email_verified": True}

    answer = come_back(client)

    assert (answer.status_code, answer.location) == (303, "/me")
    assert ana in client.get("/me").text
    assert provider.asked["redirect_uri"].endswith("/me/oidc/callback")
    assert provider.asked["code_challenge_method"] == "S256"


@pytest.mark.parametrize(
    "claims",
    [
        {"email": "ana@exemplo.com.br"},
        {"email": "ana@exemplo.com.br", "email_verified": False},
        {"email": "ana@exemplo.com.br", "email_verified": "true"},
        {"email": "outra@exemplo.com.br", "email_verified": True},
        {"email": ["ana@exemplo.com.br"], "email_verified": True},
        {},
    ],
    ids=["unsaid", "unverified", "a-word", "unknown", "a-list", "nothing"],
)
def test_whom_the_provider_does_not_name_for_sure_stays_outside(
    client: FlaskClient, provider: FakeIdentityProvider, ana: str, claims: dict[str, object]
) -> None:
    provider.claims = claims

    assert come_back(client).status_code == 401
    assert ana
    assert client.get("/me").status_code == 303


def test_address_that_two_people_have_signs_in_neither(
    client: FlaskClient, provider: FakeIdentityProvider, app: SolarisFlask, ana: str
) -> None:
    services_of(app).people.create_person(f"{ana}-2", {"email": "ana@exemplo.com.br"})
    provider.claims = {"email": "ana@exemplo.com.br", "email_verified": True}

    assert come_back(client).status_code == 401


def test_person_is_known_by_another_claim_where_that_is_configured(
    settings: Settings, provider: FakeIdentityProvider, app: SolarisFlask, ana: str
) -> None:
    oidc = replace(settings.pages.oidc, claim="sub")
    other = create_app(replace(settings, pages=PageSettings(oidc=oidc)))
    provider.claims = {"sub": ana}

    answer = come_back(other.test_client())

    assert answer.location == "/me"
    other.background_loop.run(services_of(other).close())
    other.background_loop.stop()
    with other.app_context():
        db.engine.dispose()


def test_token_of_another_signer_is_refused(
    client: FlaskClient, provider: FakeIdentityProvider, ana: str
) -> None:
    provider.claims = {"email": "ana@exemplo.com.br", "email_verified": True}
    provider.signing_key = RSAKey.generate_key(2048, {"kid": "1"})

    assert come_back(client).status_code == 502
    assert ana
    assert client.get("/me").status_code == 303


def test_answer_that_was_not_asked_for_is_refused(
    client: FlaskClient, provider: FakeIdentityProvider
) -> None:
    answer = client.get("/me/oidc/callback?code=a-code&state=made-up")

    assert answer.status_code == 502
    assert provider.asked == {}


def test_answer_is_good_once(client: FlaskClient, provider: FakeIdentityProvider, ana: str) -> None:
    provider.claims = {"email": "ana@exemplo.com.br", "email_verified": True}
    away = client.get("/me/oidc")
    back = urlsplit(httpx.get(str(away.location)).headers["location"])
    assert parse_qs(back.query)["state"]
    assert client.get(f"{back.path}?{back.query}").status_code == 303

    assert client.get(f"{back.path}?{back.query}").status_code == 502
    assert ana


def test_provider_that_is_away_is_told_without_its_internals(
    client: FlaskClient, provider: FakeIdentityProvider
) -> None:
    provider.stop()

    answer = client.get("/me/oidc")

    assert answer.status_code == 502
    assert provider.url not in answer.text
