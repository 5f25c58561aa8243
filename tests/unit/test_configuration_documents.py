"""`.env.example` and `docs/configuration.md` name the variables that are read: by the code, and by
LiteLLM through the file that it starts from."""

from __future__ import annotations

import ast
import re

import yaml

from app.config.settings import PROJECT_ROOT, LiteLLMSettings
from app.embedded.litellm_server import CALLBACK

READERS = {
    "text",
    "optional",
    "choice",
    "integer",
    "seconds",
    "flag",
    "timezone",
    "quiet_hours",
    "rate",
    "networks",
    "traces",
    "url",
    "outside_urls",
    "mail_server",
    "mail_addresses",
    "secret_url",
    "secret",
}
# A secret's file, as every secret may have one.
BY_FILE = {"WEBHOOK_SECRET_FILE"}
SECRET_READERS = {"secret_url", "secret", "outside_urls", "mail_server"}


def calls_of(readers: set[str]) -> list[ast.Call]:
    """Return the settings' calls of `env.<reader>(…)`."""
    tree = ast.parse((PROJECT_ROOT / "app/config/settings.py").read_text())
    return [
        call
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "env"
        and call.func.attr in readers
    ]


def read_by_code(readers: set[str]) -> set[str]:
    return {str(ast.literal_eval(call.args[0])) for call in calls_of(readers)}


def read_by_litellm() -> set[str]:
    """Return the variables that the shipped configuration names."""
    text = LiteLLMSettings().config_path.read_text()
    options = yaml.safe_load(text)["solaris"]["switched_on_when"]
    switches = {name for option in options for name in option.get("env", [])}
    callback = CALLBACK.read_text(encoding="utf-8")
    own = set(re.findall(r'environ\.get\("([A-Z][A-Z0-9_]*)"\)', callback)) - BY_FILE
    return switches | own | set(re.findall(r"os\.environ/([A-Z][A-Z0-9_]*)", text))


def documented() -> dict[str, bool]:
    """Return each variable of the documentation's tables, and whether it is marked secret."""
    text = (PROJECT_ROOT / "docs/configuration.md").read_text()
    rows = re.findall(r"^\| `([A-Z][A-Z0-9_]*)`( \(secret\))? \|", text, re.MULTILINE)
    return {name: bool(secret) for name, secret in rows}


def in_example() -> list[str]:
    """Return each variable of the example, commented out or not."""
    text = (PROJECT_ROOT / ".env.example").read_text()
    return re.findall(r"^(?:# ?)?([A-Z][A-Z0-9_]*)=", text, re.MULTILINE)


def test_env_example_lists_what_is_read() -> None:
    assert sorted(in_example()) == sorted(read_by_code(READERS) | read_by_litellm())


def test_documentation_lists_what_is_read() -> None:
    assert sorted(documented()) == sorted(read_by_code(READERS) | read_by_litellm())


def test_environment_is_read_by_the_settings_alone() -> None:
    """What reads a variable of its own is in no document."""
    # Whole environments are passed on to settings, children and LiteLLM's options.
    by_name = re.compile(r"os\.environ(\.get\(|\[)[\"'](?!LOCALE|ENVIRONMENT)|getenv")
    sources = [*(PROJECT_ROOT / "app").rglob("*.py"), PROJECT_ROOT / "gunicorn.conf.py"]

    assert [path.name for path in sources if by_name.search(path.read_text())] == []


def test_documentation_marks_what_can_come_from_a_file() -> None:
    marked = {name for name, is_secret in documented().items() if is_secret}

    assert sorted(marked) == sorted(read_by_code(SECRET_READERS))
