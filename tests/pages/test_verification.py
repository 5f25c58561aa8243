"""The trail's verification on its page: under way, over, and where it found something."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient
from sqlalchemy import create_engine, text

from app.config.settings import Settings
from app.extensions import services_of
from app.services.trail_verification import AlreadyVerifyingError
from app.services.verification_store import VerificationRun, VerificationStore
from app.serving.flask_app import SolarisFlask
from tests.pages.browserless import send, sign_in
from tests.waiting import wait_until

PAGE = "/admin/audit/verification"


@pytest.fixture
def under_way(app: SolarisFlask, settings: Settings) -> VerificationRun:
    """A verification of another process."""
    engine = create_engine(settings.database.url)
    store = VerificationStore(engine)
    run = store.begin(None, datetime.now(UTC), "key:eva")
    store.advance(run.id, 200_000, datetime.now(UTC))
    engine.dispose()
    assert app
    return run


def execute(settings: Settings, statement: str) -> None:
    engine = create_engine(settings.database.url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_verification_shows_its_result_and_who_began_it(
    client: FlaskClient, app: SolarisFlask
) -> None:
    sign_in(client)

    send(client, PAGE, at=PAGE, form="verify")

    service = services_of(app).trail_verification
    wait_until(lambda: service.runs(1)[0].ended_at is not None, 10)
    page = client.get(PAGE).text
    assert "Nada foi alterado" in page
    assert "key:ADMIN_API_KEY" in page
    assert "every 1s" not in page


def test_progress_of_another_process_is_shown_and_renews_itself(
    client: FlaskClient, under_way: VerificationRun
) -> None:
    sign_in(client)

    page = client.get(PAGE).text

    assert under_way
    assert "200.000 linhas até agora" in page
    assert "every 1s" in page


def test_one_verification_is_under_way_at_a_time(
    client: FlaskClient, app: SolarisFlask, under_way: VerificationRun
) -> None:
    sign_in(client)

    with pytest.raises(AlreadyVerifyingError):
        services_of(app).trail_verification.start()
    send(client, PAGE, at=PAGE, form="verify", back=PAGE)

    assert under_way
    assert "já está sendo feito" in client.get(PAGE).text
    assert len(services_of(app).trail_verification.runs(9)) == 1


def test_verification_whose_process_died_did_not_finish_and_another_may_begin(
    client: FlaskClient, app: SolarisFlask, under_way: VerificationRun, settings: Settings
) -> None:
    execute(settings, "UPDATE trail_verifications SET seen_at = now() - interval '3 minutes'")
    sign_in(client)

    page = client.get(PAGE).text

    assert "não terminou" in page
    assert "every 1s" not in page
    assert services_of(app).trail_verification.start().id == under_way.id + 1


def test_row_that_was_changed_is_named(
    client: FlaskClient, app: SolarisFlask, settings: Settings
) -> None:
    services_of(app).budgets.create(
        scope="user", subject="ana", metric="cost", period="day", limit=5, mode="enforce"
    )
    execute(settings, "UPDATE audit_events SET status = 200, cost_micro_usd = 1 WHERE seq = 1")
    sign_in(client)

    send(client, PAGE, at=PAGE, form="verify")

    wait_until(lambda: "Não está como foi escrita" in client.get(PAGE).text, 10)
    page = client.get(PAGE).text
    assert "uma linha foi alterada" in page
    assert "linha 1" in page


def test_verification_by_the_api_is_listed_too(client: FlaskClient, app: SolarisFlask) -> None:
    services_of(app).trail_verification.run()

    (run,) = services_of(app).trail_verification.runs(9)

    assert run.report is not None
    assert run.report["good"] is True
    assert run.ended_at is not None
    assert run.ended_at - run.started_at < timedelta(minutes=1)
    assert client
