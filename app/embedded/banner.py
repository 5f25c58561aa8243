"""What the person at the terminal reads when everything runs: addresses, a key, what to paste."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from app.config.settings import Settings
from app.embedded.console import Console
from app.embedded.state import StateDirectory

FIRST_MODEL = "gpt-4o"


def print_banner(
    console: Console,
    settings: Settings,
    state: StateDirectory,
    *,
    api_key: str,
    key_user: str,
    mocked: Mapping[str, str],
    total_models: int,
    started_in_s: float,
) -> None:
    """``mocked`` has, for each model that is mocked, the variable that would hold its key."""
    url = f"http://127.0.0.1:{settings.server.port}"
    console.say(console.text("ready", seconds=started_in_s))
    console.say()
    _print_facts(console, settings, state, url, api_key)
    _print_mocked(console, mocked, total_models)
    _print_curl(console, url, api_key)
    _print_librechat(console, url, api_key, key_user)
    console.say()
    console.say(console.text("cli"))
    solaris = Path(sys.executable).with_name("solaris")
    console.say(f"  set -a; . {_quoted(state.env_file)}; set +a; {_quoted(solaris)} keys list")


def _print_facts(
    console: Console, settings: Settings, state: StateDirectory, url: str, api_key: str
) -> None:
    facts = {
        "url_proxy": f"{url}/v1",
        "url_pages": f"{url}/admin/",
        "admin_key": settings.security.admin_api_key or "",
        "url_ready": f"{url}/readyz",
        "url_litellm": settings.litellm.base_url,
        "key": api_key,
        "logs": str(state.logs),
    }
    width = max(len(console.text(label)) for label in facts)
    for label, value in facts.items():
        console.say(f"  {console.text(label):<{width}}  {value}")


def _print_mocked(console: Console, mocked: Mapping[str, str], total: int) -> None:
    if not mocked:
        return
    which = "all_mocked" if len(mocked) == total else "some_mocked"
    variables = ", ".join(dict.fromkeys(mocked.values()))
    console.say()
    console.say("  " + console.text(which, mocked=len(mocked), total=total))
    console.say("  " + console.text("how_to_unmock", variables=variables))


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


def _print_librechat(console: Console, url: str, api_key: str, key_user: str) -> None:
    console.say()
    console.say(console.text("librechat"))
    console.say()
    console.say('    - name: "SOLARIS"')
    console.say(f'      apiKey: "{api_key}"')
    console.say(f'      baseURL: "{url}/v1"')
    # Without it LibreChat leaves the endpoint out, and says nothing.
    console.say(f'      models: {{default: ["{FIRST_MODEL}"], fetch: true}}')
    console.say()
    console.say("  " + console.text("librechat_docker"))
    console.say("  " + console.text("trusted", user=key_user))


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
