from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import yaml

from app.config.settings import LiteLLMSettings
from app.embedded.litellm_config import MOCK_VECTOR, Rendered, render

SHIPPED: dict[str, Any] = {
    "model_list": [
        {
            "model_name": "gpt-4",
            "litellm_params": {"model": "openai/gpt-4", "api_key": "os.environ/OPENAI_API_KEY"},
            "model_info": {"mode": "chat"},
        },
        {
            "model_name": "embed",
            "litellm_params": {"model": "openai/embed", "api_key": "os.environ/OPENAI_API_KEY"},
            "model_info": {"mode": "embedding"},
        },
        {
            "model_name": "local",
            "litellm_params": {"model": "ollama/llama"},
            "model_info": {"mode": "chat"},
        },
    ],
    "litellm_settings": {"callbacks": ["ours"], "cache": False, "params": {"a": 1}},
    "solaris": {
        "health": {"cooldown_s": 1},
        "switched_on_when": [
            {
                "name": "cache",
                "env": ["REDIS_HOST"],
                "litellm_settings": {"cache": True, "params": {"b": 2}},
            },
            {
                "name": "metrics",
                "package": "prometheus_client",
                "litellm_settings": {"callbacks": ["prometheus", "ours"]},
            },
            {
                "name": "traces",
                "env": ["KEY", "HOST"],
                "package": "langfuse",
                "general_settings": {"alerting": ["slack"]},
            },
        ],
    },
}
KEY = {"OPENAI_API_KEY": "sk-real"}


def rendered(environment: dict[str, str] | None = None, *packages: str) -> Rendered:
    return render(SHIPPED, environment or {}, lambda name: name in packages, mock_locale="pt_BR")


def params_of(config: dict[str, Any], model: str) -> dict[str, Any]:
    entries = {entry["model_name"]: entry["litellm_params"] for entry in config["model_list"]}
    params: dict[str, Any] = entries[model]
    return params


def test_config_leaves_out_what_is_not_litellms() -> None:
    config, _, _ = rendered()

    assert "solaris" not in config


def test_config_rendered_leaves_the_shipped_one_as_it_was() -> None:
    before = deepcopy(SHIPPED)

    rendered({"REDIS_HOST": "cache"}, "prometheus_client")

    assert before == SHIPPED


# Mocks


def test_model_without_its_key_answers_with_a_mock_that_says_so() -> None:
    config, mocked, _ = rendered()

    assert mocked == {"gpt-4": "OPENAI_API_KEY", "embed": "OPENAI_API_KEY"}
    text = params_of(config, "gpt-4")["mock_response"]
    assert [word for word in ("gpt-4", "OpenAI", "OPENAI_API_KEY") if word not in text] == []


def test_model_without_its_key_answers_in_the_language_asked_for() -> None:
    config, _, _ = render(SHIPPED, {}, lambda _name: False, mock_locale="en")

    assert params_of(config, "gpt-4")["mock_response"].startswith("Hello!")


def test_model_without_its_key_is_left_real_where_no_mock_is_wanted() -> None:
    rendered = render(SHIPPED, {}, lambda _name: False, mock_locale=None)

    assert rendered.keyless == {"gpt-4": "OPENAI_API_KEY", "embed": "OPENAI_API_KEY"}
    assert "mock_response" not in params_of(rendered.config, "gpt-4")


def test_embedding_model_without_its_key_answers_with_a_vector() -> None:
    config, _, _ = rendered()

    assert params_of(config, "embed")["mock_response"] == MOCK_VECTOR


def test_model_with_its_key_is_real() -> None:
    config, mocked, _ = rendered(KEY)

    assert mocked == {}
    assert "mock_response" not in params_of(config, "gpt-4")


def test_model_with_a_blank_key_is_mocked() -> None:
    assert rendered({"OPENAI_API_KEY": ""}).keyless.keys() == {"gpt-4", "embed"}


def test_model_that_needs_no_key_is_real() -> None:
    config, _, _ = rendered()

    assert "mock_response" not in params_of(config, "local")


def test_model_with_its_key_written_out_is_real() -> None:
    shipped = deepcopy(SHIPPED)
    shipped["model_list"][0]["litellm_params"]["api_key"] = "sk-written-out"

    config, mocked, _ = render(shipped, {}, lambda _name: False, mock_locale="en")

    assert mocked == {"embed": "OPENAI_API_KEY"}
    assert "mock_response" not in params_of(config, "gpt-4")


# Options


@pytest.mark.parametrize(
    ("environment", "packages", "switched_on"),
    [
        ({}, (), []),
        ({"REDIS_HOST": "cache"}, (), ["cache"]),
        ({"REDIS_HOST": ""}, (), []),
        ({}, ("prometheus_client",), ["metrics"]),
        ({"KEY": "k", "HOST": "h"}, ("langfuse",), ["traces"]),
        ({"KEY": "k", "HOST": "h"}, (), []),
        ({"KEY": "k"}, ("langfuse",), []),
        ({"REDIS_HOST": "cache"}, ("prometheus_client",), ["cache", "metrics"]),
    ],
)
def test_option_is_switched_on_when_all_it_needs_is_there(
    environment: dict[str, str], packages: tuple[str, ...], switched_on: list[str]
) -> None:
    assert rendered(environment, *packages).switched_on == switched_on


def test_option_off_changes_nothing() -> None:
    config, _, _ = rendered()

    assert config["litellm_settings"] == SHIPPED["litellm_settings"]


def test_option_on_merges_mappings_and_replaces_values() -> None:
    config, _, _ = rendered({"REDIS_HOST": "cache"})

    settings = config["litellm_settings"]
    assert (settings["cache"], settings["params"]) == (True, {"a": 1, "b": 2})


def test_option_on_appends_to_lists_without_repeating() -> None:
    config, _, _ = rendered({}, "prometheus_client")

    assert config["litellm_settings"]["callbacks"] == ["ours", "prometheus"]


def test_option_on_adds_a_section_that_was_not_there() -> None:
    config, _, _ = rendered({"KEY": "k", "HOST": "h"}, "langfuse")

    assert config["general_settings"] == {"alerting": ["slack"]}


# The shipped file


def test_shipped_config_without_any_key_is_mocked_throughout() -> None:
    shipped = yaml.safe_load(LiteLLMSettings().config_path.read_text())

    config, mocked, switched_on = render(shipped, {}, lambda _name: False, mock_locale="en")

    assert list(mocked) == [entry["model_name"] for entry in config["model_list"]]
    assert switched_on == []
