"""What the person at the terminal reads when everything runs: addresses, a key, what to paste."""

from __future__ import annotations

from app.config.settings import Settings
from app.embedded.console import Console
from app.embedded.litellm_config import PROVIDER_NAMES
from app.embedded.state import StateDirectory

FIRST_MODEL = "gpt-4o"


def print_banner(
    console: Console,
    settings: Settings,
    api_key: str,
    mocked_models: list[str],
    state: StateDirectory,
    *,
    started_in_s: float,
) -> None:
    url = f"http://127.0.0.1:{settings.server.port}"
    console.say(console.text("ready", seconds=started_in_s))
    console.say()
    for label, value in (
        ("url_proxy", f"{url}/v1"),
        ("url_ready", f"{url}/readyz"),
        ("url_litellm", settings.litellm.base_url),
        ("key", api_key),
        ("logs", str(state.logs)),
    ):
        console.say(f"  {console.text(label):<13} {value}")
    if mocked_models:
        console.say()
        console.say("  " + console.text("mocked", models=", ".join(mocked_models)))
        console.say("  " + console.text("how_to_unmock", variables=", ".join(PROVIDER_NAMES)))
    _print_curl(console, url, api_key)
    _print_librechat(console, url, api_key)
    console.say()
    console.say(console.text("cli"))
    console.say(f"  set -a; . {state.env_file}; set +a; .venv/bin/solaris keys list")


def _print_curl(console: Console, url: str, api_key: str) -> None:
    question = console.text("question")
    console.say()
    console.say(console.text("try"))
    console.say()
    console.say(
        f"""curl -N {url}/v1/chat/completions -H "Authorization: Bearer {api_key}" """
        f"""-H "Content-Type: application/json" -d '{{"model": "{FIRST_MODEL}", "stream": true, """
        f""""messages": [{{"role": "user", "content": "{question}"}}]}}'"""
    )


def _print_librechat(console: Console, url: str, api_key: str) -> None:
    console.say()
    console.say(console.text("librechat"))
    console.say()
    console.say('    - name: "SOLARIS"')
    console.say(f'      apiKey: "{api_key}"')
    console.say(f'      baseURL: "{url}/v1"')
