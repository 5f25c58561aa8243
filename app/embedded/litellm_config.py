"""The configuration LiteLLM is started with: the shipped one, and what this machine adds to it.

The shipped file starts anywhere. Its `solaris.switched_on_when` says what is merged in where the
named variables are set and the named package is there; models whose provider has no key answer
with a mock of LiteLLM's own, so that a first look costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, NamedTuple

import yaml

MOCK_TEXTS = {
    "pt_BR": "Olá! Esta é uma resposta simulada de {model}: nenhuma chave de {provider} foi "
    "configurada. Defina {variable} e reinicie para falar com o modelo de verdade.",
    "en": "Hello! This is a mocked answer of {model}: no key of {provider} is configured. "
    "Set {variable} and start again to talk to the real model.",
}
PROVIDER_NAMES = {
    "OPENAI_API_KEY": "OpenAI",
    "ANTHROPIC_API_KEY": "Anthropic",
    "GOOGLE_API_KEY": "Google",
}
# LiteLLM answers an embedding with the vector that the mock holds.
MOCK_VECTOR = [0.0] * 1536
SETTINGS_SECTIONS = ("litellm_settings", "general_settings", "router_settings")


class Rendered(NamedTuple):
    """A configuration, the variable that each model without a key waits for, what is on."""

    config: dict[str, Any]
    keyless: dict[str, str]
    switched_on: list[str]


def render(
    shipped: Mapping[str, Any],
    environment: Mapping[str, str],
    has_package: Callable[[str], bool],
    *,
    mock_locale: str | None,
) -> Rendered:
    """Render for this environment; with a ``mock_locale``, models without a key are mocked."""
    config = deepcopy(dict(shipped))
    own = config.pop("solaris", None) or {}
    switched_on = []
    for option in own.get("switched_on_when") or []:
        if _applies(option, environment, has_package):
            _merge(config, {key: option[key] for key in SETTINGS_SECTIONS if key in option})
            switched_on.append(option["name"])
    keyless = {}
    for entry in config.get("model_list") or []:
        if variable := _missing_key(entry, environment):
            keyless[entry["model_name"]] = variable
            if mock_locale:
                mock = _mock_for(entry, variable, MOCK_TEXTS[mock_locale])
                entry["litellm_params"]["mock_response"] = mock
    return Rendered(config, keyless, switched_on)


def to_yaml(config: Mapping[str, Any]) -> str:
    return yaml.safe_dump(config, allow_unicode=True, sort_keys=False)


def _applies(
    option: Mapping[str, Any],
    environment: Mapping[str, str],
    has_package: Callable[[str], bool],
) -> bool:
    package = option.get("package")
    has_variables = all(environment.get(name) for name in option.get("env") or [])
    return has_variables and (package is None or has_package(package))


def _merge(into: dict[str, Any], addition: Mapping[str, Any]) -> None:
    """Merge mappings key by key and append lists; anything else is replaced."""
    for key, value in addition.items():
        present = into.get(key)
        if isinstance(present, dict) and isinstance(value, dict):
            _merge(present, value)
        elif isinstance(present, list) and isinstance(value, list):
            into[key] = present + [entry for entry in value if entry not in present]
        else:
            into[key] = deepcopy(value)


def _missing_key(entry: Mapping[str, Any], environment: Mapping[str, str]) -> str | None:
    """Return the variable that should hold the model's key, and does not."""
    # A key written out is a key; only a reference can lead nowhere.
    reference, _, variable = str(entry["litellm_params"].get("api_key")).partition("/")
    return variable if reference == "os.environ" and not environment.get(variable) else None


def _mock_for(entry: Mapping[str, Any], variable: str, text: str) -> Any:
    if entry["model_info"].get("mode") == "embedding":
        return MOCK_VECTOR
    provider = PROVIDER_NAMES.get(variable, variable)
    return text.format(model=entry["model_name"], provider=provider, variable=variable)
