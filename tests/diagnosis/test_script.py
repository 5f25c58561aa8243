"""Every state of the script, with real processes: what it says, and the code that it ends with."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from app.audit.queries import EventFilter
from app.config.catalog import load_catalog
from app.config.settings import LiteLLMSettings, Settings
from app.embedded.network import free_port
from app.extensions import services_of
from app.serving.flask_app import SolarisFlask
from app.utils.signatures import sign
from tests.conftest import ADMIN_KEY, MASTER_KEY, WEBHOOK_SECRET
from tests.diagnosis.script import SCRIPT, Diagnosis, answering, bare_path, diagnose
from tests.fakes.deaf import silent_after_connect
from tests.fakes.litellm import FakeLiteLLM, silence, status
from tests.metrics.test_workers import call
from tests.servers import ProxyServer
from tests.waiting import wait_until

WELL, WARNINGS, FAILURES, WRONG_USAGE = 0, 1, 2, 64
BROKEN = status(500, {"error": {"message": "boom"}})


def verdict(env: dict[str, str], *options: str) -> Diagnosis:
    return diagnose(env, "--json", *options)


def test_all_well_is_said_in_portuguese_and_ends_with_0(env: dict[str, str]) -> None:
    done = diagnose(env)

    assert (done.code, done.errors) == (WELL, "")
    assert "✔ proxy: responde em" in done.text
    assert "✔ model gpt-4o: está bem" in done.text
    assert "✔ webhook: a assinatura confere" in done.text
    assert "✔ budgets: nenhum esgotado" in done.text
    assert done.text.endswith("falhas: 0, avisos: 0\n")
    assert "\x1b" not in done.text


def test_all_well_is_said_in_english_where_asked(env: dict[str, str]) -> None:
    by_option, by_locale = diagnose(env, "--lang", "en"), diagnose({**env, "LOCALE": "en"})

    assert by_option.text == by_locale.text
    assert "✔ proxy: answers at" in by_option.text
    assert by_option.text.endswith("failures: 0, warnings: 0\n")


def test_json_says_the_same_as_the_text(env: dict[str, str]) -> None:
    text, document = diagnose(env), verdict(env)

    assert document.document["verdict"] == "ok"
    marks = {"ok": "✔", "skipped": "–"}
    for check in document.document["checks"]:
        assert f"{marks[check['state']]} {check['check']}: {check['detail']}" in text.text


def test_nothing_is_paid_for_unless_asked(env: dict[str, str], litellm: FakeLiteLLM) -> None:
    diagnose(env)

    assert litellm.calls == []


def test_paid_asks_each_model_for_one_token(env: dict[str, str], litellm: FakeLiteLLM) -> None:
    litellm.for_model("gpt-4o", BROKEN)

    done = verdict(env, "--paid")

    catalog = load_catalog(LiteLLMSettings().config_path)
    asked = [call.body for call in litellm.calls]
    assert sorted(it["model"] for it in asked) == sorted(catalog.names())
    assert {it.get("max_tokens", 1) for it in asked} == {1}
    assert (done.state("paid gpt-4"), done.state("paid gpt-4o")) == ("ok", "failure")
    assert done.code == FAILURES


def test_litellm_down_is_a_failure(own_env: dict[str, str], upstream: FakeLiteLLM) -> None:
    upstream.stop()

    done = diagnose(own_env)

    assert done.code == FAILURES
    assert f"✘ litellm: não responde em {upstream.url} (HTTP 000)" in done.text
    assert "✔ proxy: responde em" in done.text


def test_litellm_that_hangs_is_a_failure_in_time(env: dict[str, str], litellm: FakeLiteLLM) -> None:
    with silent_after_connect() as url:
        done = verdict({**env, "LITELLM_BASE_URL": url}, "--timeout", "1")

    assert (done.code, done.state("litellm")) == (FAILURES, "failure")


def test_one_model_that_fails_is_named_with_the_reason(
    own_env: dict[str, str], upstream: FakeLiteLLM, own: ProxyServer, make_key: Callable[..., str]
) -> None:
    key = make_key(allowed_models=["gpt-4o"])
    upstream.for_model("gpt-4o", BROKEN)
    assert {call(own, key) for _ in range(4)} <= {502, 503}

    done = diagnose(own_env)

    assert done.code == FAILURES
    assert "✘ model gpt-4o: falha: upstream_error; está fora até um teste dar certo" in done.text
    assert "✔ model gpt-4: está bem" in done.text


def test_model_that_litellm_does_not_offer_is_a_failure(
    upstream: FakeLiteLLM, start_proxy: Callable[..., ProxyServer], own_env: dict[str, str]
) -> None:
    upstream.models = tuple(it for it in upstream.models if it != "gpt-4o")

    done = verdict({**own_env, "PROXY_URL": start_proxy(workers=1).url})

    assert (done.state("model gpt-4o"), done.state("model gpt-4")) == ("failure", "ok")


def test_proxy_down_is_a_failure_and_litellm_is_looked_at_all_the_same(
    own_env: dict[str, str], own: ProxyServer
) -> None:
    own.stop()

    done = verdict(own_env)

    assert (done.code, done.state("proxy"), done.state("litellm")) == (FAILURES, "failure", "ok")
    assert {it["check"] for it in done.document["checks"]} == {"proxy", "litellm", "litellm_key"}


@pytest.mark.parametrize(
    ("variable", "check"),
    [
        ("ADMIN_API_KEY", "admin_key"),
        ("LITELLM_MASTER_KEY", "litellm_key"),
        ("WEBHOOK_SECRET", "webhook"),
    ],
)
def test_wrong_key_is_a_failure_that_says_which(
    env: dict[str, str], litellm: FakeLiteLLM, variable: str, check: str
) -> None:
    wrong = verdict({**env, variable: "wrong-canary-0123456789abcdef0123456789"})
    missing = verdict({**env, variable: ""})

    assert (wrong.code, wrong.state(check)) == (FAILURES, "failure")
    assert (missing.code, missing.state(check)) == (WELL, "skipped")


@pytest.mark.parametrize(
    "secret",
    ["k", "ção-secreta com espaço", "x" * 64, "y" * 65, "z" * 300, 'with "signs" \\ and $HOME'],
    ids=["short", "words", "64", "65", "300", "signs"],
)
def test_signature_is_good_under_any_secret(env: dict[str, str], secret: str) -> None:
    with answering() as (url, sent):
        diagnose({**env, "PROXY_URL": url, "WEBHOOK_SECRET": secret})

    headers, body = next(it for it in sent if it[0].get("X-Signature-256"))
    assert headers["X-Signature-256"] == sign(body, secret)


def test_signed_delivery_leaves_no_event(own_env: dict[str, str], app: SolarisFlask) -> None:
    verdict(own_env)

    assert services_of(app).audit_reader.event_page(EventFilter())[0] == []


def test_postgres_away_is_a_failure(
    upstream: FakeLiteLLM, start_proxy: Callable[..., ProxyServer], own_env: dict[str, str]
) -> None:
    away = {"DATABASE_URL": "postgresql+psycopg2://localhost:1/none"}
    proxy = start_proxy(workers=1, env=away)

    done = verdict({**own_env, "PROXY_URL": proxy.url})

    assert (done.code, done.state("postgres")) == (FAILURES, "failure")
    assert done.state("budgets") == "skipped"


def test_redis_is_looked_at_where_the_proxy_has_one(
    upstream: FakeLiteLLM,
    start_proxy: Callable[..., ProxyServer],
    own_env: dict[str, str],
    redis_url: str,
) -> None:
    there = start_proxy(workers=1, env={"REDIS_URL": redis_url})
    away = start_proxy(workers=1, env={"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"})

    states = {
        verdict({**own_env, "PROXY_URL": url}).state("redis")
        for url in (own_env["PROXY_URL"], there.url, away.url)
    }

    assert states == {"skipped", "ok", "warning"}
    assert verdict({**own_env, "PROXY_URL": away.url}).code == WARNINGS


def test_used_up_budget_and_thrown_switch_are_warnings(
    own_env: dict[str, str], app: SolarisFlask, own: ProxyServer, make_key: Callable[..., str]
) -> None:
    services = services_of(app)
    services.budgets.set(
        scope="key", subject="*", metric="requests", period="day", limit=1, mode="enforce"
    )
    call(own, make_key())
    wait_until(lambda: "key" in {it.scope for it in services.budgets.states() if it.posted})
    services.kill_switch.throw(scope="team", subject="vendas", reason="auditoria")

    done = diagnose(own_env)

    assert done.code == WARNINGS
    assert "! budgets: 1 esgotados" in done.text
    assert "! kill_switches: 1 em vigor" in done.text


def test_backlog_on_disk_is_a_warning(own_env: dict[str, str], settings: Settings) -> None:
    folder = settings.server.state_dir / "audit"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "left-behind.of-another").write_bytes(b"\0" * (17 * 2**20))

    done = verdict(own_env)

    assert (done.code, done.state("spool")) == (WARNINGS, "warning")


def test_machine_that_is_drained_is_a_warning(own_env: dict[str, str], settings: Settings) -> None:
    settings.server.state_dir.mkdir(parents=True, exist_ok=True)
    (settings.server.state_dir / "draining").touch()

    done = verdict(own_env)

    assert (done.code, done.state("drain")) == (WARNINGS, "warning")


@pytest.fixture
def bare(tmp_path: Path) -> str:
    return bare_path(tmp_path / "bin")


def test_neither_jq_nor_docker_nor_openssl_is_needed(env: dict[str, str], bare: str) -> None:
    done = diagnose(env, "--json", path=bare)

    assert (done.code, done.errors) == (WELL, "")
    assert done.text == verdict(env).text


def test_curl_is_asked_for_by_name(env: dict[str, str], tmp_path: Path) -> None:
    done = diagnose(env, path=bare_path(tmp_path / "bin", "curl"))

    assert done.code == WRONG_USAGE
    assert "curl?" in done.errors


def test_docker_that_runs_the_services_is_named_where_to_look(
    own_env: dict[str, str], upstream: FakeLiteLLM, bare: str, tmp_path: Path
) -> None:
    copy = tmp_path / "project" / "scripts" / SCRIPT.name
    copy.parent.mkdir(parents=True)
    shutil.copy(SCRIPT, copy)
    (tmp_path / "project" / "docker-compose.yml").touch()
    docker = Path(bare) / "docker"
    docker.write_text("#!/bin/bash\necho litellm\necho proxy-inteligente\n")
    docker.chmod(0o755)
    upstream.stop()

    done = subprocess.run(
        ["/bin/bash", copy],
        env={"PATH": bare, **own_env},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "docker compose logs --tail 20 litellm" in done.stdout


def test_variables_are_read_from_a_file_and_never_executed(
    env: dict[str, str], tmp_path: Path
) -> None:
    mark = tmp_path / "executed"
    lines = [f"export {name}='{value}'" for name, value in env.items()]
    evil = [f"PORT=$(touch {mark})", f"HOST=`touch {mark}`", "PATH=/nowhere"]
    file = tmp_path / "env"
    file.write_text("\n".join([*lines, *evil]))

    done = diagnose({}, "--json", "--env-file", str(file))

    assert done.code == WELL
    assert not mark.exists()


def test_keys_are_read_from_secret_files(env: dict[str, str], tmp_path: Path) -> None:
    secret = tmp_path / "admin"
    secret.write_text(f"{ADMIN_KEY}\n")
    del env["ADMIN_API_KEY"]

    done = verdict({**env, "ADMIN_API_KEY_FILE": str(secret)})

    assert done.state("admin_key") == "ok"


@pytest.mark.parametrize(
    "options", [["--nope"], ["--timeout", "0"], ["--lang", "fr"], ["--proxy"], ["--env-file", "/x"]]
)
def test_wrong_usage_ends_with_64_and_says_what(options: list[str]) -> None:
    done = diagnose({}, *options)

    assert (done.code, done.text) == (WRONG_USAGE, "")
    assert options[0] in done.errors
    assert "usage:" in done.errors


def test_no_secret_is_in_what_it_prints_nor_on_a_command_line(
    env: dict[str, str], litellm: FakeLiteLLM
) -> None:
    litellm.default = silence(seconds=0.2)
    seen: set[str] = set()
    over = threading.Event()
    watcher = threading.Thread(target=watch_command_lines, args=(seen, over))
    watcher.start()

    text = "".join(diagnose(env, *it).text for it in ([], ["--json"], ["--lang", "en", "--paid"]))
    over.set()
    watcher.join()

    assert any("diagnose-litellm.sh" in line for line in seen)
    assert any("curl" in line for line in seen)
    for secret in (ADMIN_KEY, MASTER_KEY, WEBHOOK_SECRET):
        assert secret not in text
        assert not any(secret in line for line in seen)


def watch_command_lines(seen: set[str], over: threading.Event) -> None:
    while not over.is_set():
        for process in psutil.process_iter(["cmdline"]):
            seen.add(" ".join(process.info["cmdline"] or ()))


def test_names_of_models_command_no_terminal(
    env: dict[str, str], litellm: FakeLiteLLM, tmp_path: Path
) -> None:
    with answering('{"models":[{"id":"\x1b[31mevil\\u0007","status":"unhealthy"}]}') as (url, _):
        done = diagnose({**env, "PROXY_URL": url})

    assert "\x1b" not in done.text
    assert "evil" in done.text


def test_script_is_clean_for_shellcheck() -> None:
    checked = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True, check=False)

    assert (checked.returncode, checked.stdout) == (0, "")
