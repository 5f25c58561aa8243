from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.config.catalog import Catalog, Limit, Prices, load_catalog
from app.config.errors import ConfigurationError
from app.config.settings import LiteLLMSettings

DOCUMENT = """
model_list:
  - model_name: gpt-4
    litellm_params: {model: openai/gpt-4, api_key: os.environ/OPENAI_API_KEY}
    model_info:
      mode: chat
      input_cost_per_token: 0.00003
      output_cost_per_token: 6e-5
      max_input_tokens: 8192
      max_output_tokens: 4096
      supports_function_calling: true
  - model_name: claude
    litellm_params: {model: anthropic/claude-3}
    model_info:
      input_cost_per_token: 0.000_003
      output_cost_per_token: 1.5e-05
      cache_read_input_token_cost: 0.0000003
      max_input_tokens: 200000
      max_output_tokens: 4096
      supports_vision: true
  - model_name: embed
    litellm_params: {model: gemini/embed}
    model_info:
      {mode: embedding, input_cost_per_token: 0.00000002, output_cost_per_token: 0,
       max_input_tokens: 8191}
router_settings:
  fallbacks: [{gpt-4: [claude]}]
  routing_groups: [{group_name: smart, models: [claude, gpt-4]}]
solaris:
  health: {check_interval_s: 60, unhealthy_threshold: 3, cooldown_s: 30.5}
  budget_and_rate_limits:
    - {model: "*", max_budget: 1000, budget_duration: 1mo}
    - {model: gpt-4, rpm: 100, tpm: 50000, mode: shadow}
    - {model: smart, max_budget: 0.25, budget_duration: 1d}
"""

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return loaded(tmp_path, DOCUMENT)


def loaded(folder: Path, text: str | bytes) -> Catalog:
    path = folder / "litellm.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_catalog(path)


def problems_of(folder: Path, change: Change) -> list[str]:
    document = yaml.safe_load(DOCUMENT)
    change(document)
    with pytest.raises(ConfigurationError) as caught:
        loaded(folder, yaml.safe_dump(document))
    return [str(problem) for problem in caught.value.problems]


def model(document: dict[str, Any], index: int = 0) -> dict[str, Any]:
    info: dict[str, Any] = document["model_list"][index]["model_info"]
    return info


# What is read


def test_prices_become_exact_integers(catalog: Catalog) -> None:
    assert catalog.models["gpt-4"].prices == Prices(30_000_000, 60_000_000, 30_000_000, 30_000_000)


def test_price_of_cached_input_is_read_where_it_is_given(catalog: Catalog) -> None:
    assert catalog.models["claude"].prices == Prices(3_000_000, 15_000_000, 300_000, 3_000_000)


def test_price_of_the_finest_grain_is_one(tmp_path: Path) -> None:
    text = DOCUMENT.replace("0.00003\n", "0.000000000001\n")

    assert loaded(tmp_path, text).models["gpt-4"].prices.input == 1


@pytest.mark.parametrize(
    ("name", "provider"), [("gpt-4", "openai"), ("claude", "anthropic"), ("embed", "google")]
)
def test_provider_is_told_by_the_target(catalog: Catalog, name: str, provider: str) -> None:
    assert catalog.models[name].provider == provider


def test_capabilities_left_out_are_false(catalog: Catalog) -> None:
    gpt, claude = catalog.models["gpt-4"], catalog.models["claude"]

    assert (gpt.supports_vision, gpt.supports_function_calling) == (False, True)
    assert (claude.supports_vision, claude.supports_function_calling) == (True, False)


def test_embedding_model_needs_no_output_size(catalog: Catalog) -> None:
    assert catalog.models["embed"].max_output_tokens == 0


def test_limits_are_read_with_their_units(catalog: Catalog) -> None:
    assert catalog.limits == (
        Limit(None, "cost", "month", 1_000_000_000, "enforce"),
        Limit("gpt-4", "requests", "minute", 100, "shadow"),
        Limit("gpt-4", "tokens", "minute", 50_000, "shadow"),
        Limit("smart", "cost", "day", 250_000, "enforce"),
    )


def test_health_policy_is_read(catalog: Catalog) -> None:
    health = catalog.health

    assert (health.check_interval_s, health.unhealthy_threshold, health.cooldown_s) == (60, 3, 30.5)


# What callers ask


def test_names_are_models_then_groups(catalog: Catalog) -> None:
    assert catalog.names() == ["gpt-4", "claude", "embed", "smart"]


@pytest.mark.parametrize(("name", "known"), [("gpt-4", True), ("smart", True), ("gpt-5", False)])
def test_catalog_contains_models_and_groups(catalog: Catalog, name: str, known: bool) -> None:
    assert (name in catalog) is known


@pytest.mark.parametrize(
    ("name", "tried"),
    [("gpt-4", ["gpt-4", "claude"]), ("claude", ["claude"]), ("smart", ["claude", "gpt-4"])],
)
def test_resolve_gives_the_models_in_order(catalog: Catalog, name: str, tried: list[str]) -> None:
    assert [model.name for model in catalog.resolve(name) or ()] == tried


def test_resolve_of_an_unknown_name_is_none(catalog: Catalog) -> None:
    assert catalog.resolve("gpt-5") is None


# Faults


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: model(d).pop("input_cost_per_token"), ("gpt-4", "input_cost_per_token")),
        (lambda d: model(d).update(output_cost_per_token=None), ("gpt-4", "output_cost_per_token")),
        (lambda d: model(d).update(input_cost_per_token="free"), ("gpt-4", "input_cost_per_token")),
        (lambda d: model(d).update(input_cost_per_token="NaN"), ("gpt-4", "input_cost_per_token")),
        (lambda d: model(d).update(input_cost_per_token="Infinity"), ("gpt-4", "input_cost_per_")),
        (lambda d: model(d).update(input_cost_per_token=[1]), ("gpt-4", "input_cost_per_token")),
        (lambda d: model(d).update(input_cost_per_token=-0.1), ("gpt-4", "negative")),
        (lambda d: model(d).update(input_cost_per_token=1.5e-12), ("gpt-4", "finer than 1e-12")),
        (lambda d: model(d, 1).update(cache_read_input_token_cost="x"), ("claude", "cache_read_")),
        (lambda d: model(d).pop("max_input_tokens"), ("gpt-4", "max_input_tokens")),
        (lambda d: model(d).update(max_input_tokens=True), ("gpt-4", "max_input_tokens")),
        (lambda d: model(d).update(max_output_tokens=0), ("gpt-4", "max_output_tokens")),
        (lambda d: model(d).update(max_output_tokens="4k"), ("gpt-4", "max_output_tokens")),
        (lambda d: d["model_list"].append(d["model_list"][2]), ("embed", "named twice")),
        (
            lambda d: d["router_settings"].update(fallbacks=[{"claude": ["gpt-5"]}]),
            ("fallbacks[claude]", "unknown model: gpt-5"),
        ),
        (
            lambda d: d["router_settings"]["routing_groups"][0].update(models=["gpt-4", "gpt-5"]),
            ("routing_groups[smart]", "unknown model: gpt-5"),
        ),
        (
            lambda d: d["router_settings"]["routing_groups"].append({"group_name": "hollow"}),
            ("routing_groups[hollow]", "empty"),
        ),
        (
            lambda d: d["router_settings"]["routing_groups"].append(
                {"group_name": "gpt-4", "models": ["claude"]}
            ),
            ("routing_groups[gpt-4]", "its name is taken"),
        ),
        (lambda d: d["solaris"]["health"].pop("cooldown_s"), ("health", "cooldown_s")),
        (lambda d: d["solaris"]["health"].update(cooldown_s=0), ("health", "cooldown_s")),
        (
            lambda d: d["solaris"]["health"].update(unhealthy_threshold=0.5),
            ("health", "unhealthy_threshold"),
        ),
    ],
)
def test_catalog_with_a_fault_names_its_owner_and_key(
    tmp_path: Path, change: Change, words: tuple[str, ...]
) -> None:
    (problem,) = problems_of(tmp_path, change)

    assert [word for word in words if word not in problem] == []


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"model": "gpt-5", "rpm": 1}, ("unknown model: gpt-5",)),
        ({"model": "gpt-4", "rpm": 0}, ("gpt-4", "rpm")),
        ({"model": "gpt-4", "tpm": "many"}, ("gpt-4", "tpm")),
        ({"model": "gpt-4", "rpm": 1, "mode": "off"}, ("gpt-4", "mode")),
        ({"model": "gpt-4", "max_budget": 1, "budget_duration": "1y"}, ("gpt-4", "budget_dura")),
        ({"model": "*", "max_budget": 1}, ("*", "budget_duration")),
        ({"model": "*", "max_budget": "lots", "budget_duration": "1d"}, ("*", "max_budget")),
        ({"model": "*", "max_budget": -1, "budget_duration": "1d"}, ("*", "max_budget")),
        ({"model": "*", "max_budget": True, "budget_duration": "1d"}, ("*", "max_budget")),
        ({"each": "person", "rpm": 1}, ("each person", "user, team, key, model")),
        ({"each": "user", "model": "gpt-4", "rpm": 1}, ("each user", "model")),
        ({"each": "user", "max_budget": 1}, ("each user", "budget_duration")),
    ],
)
def test_catalog_with_a_bad_limit_names_its_model_and_key(
    tmp_path: Path, entry: dict[str, Any], words: tuple[str, ...]
) -> None:
    (problem,) = problems_of(
        tmp_path, lambda d: d["solaris"].update(budget_and_rate_limits=[entry])
    )

    assert [word for word in words if word not in problem] == []


def test_limit_of_each_is_one_for_everybody_of_a_kind(tmp_path: Path) -> None:
    document = yaml.safe_load(DOCUMENT)
    document["solaris"]["budget_and_rate_limits"] = [
        {"each": "user", "max_budget": 20, "budget_duration": "1mo", "rpm": 30},
        {"each": "team", "tpm": 5, "mode": "shadow"},
    ]

    assert loaded(tmp_path, yaml.safe_dump(document)).limits == (
        Limit(None, "requests", "minute", 30, "enforce", "user"),
        Limit(None, "cost", "month", 20_000_000, "enforce", "user"),
        Limit(None, "tokens", "minute", 5, "shadow", "team"),
    )


def test_catalog_with_several_faults_reports_all_together(tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        model(document).pop("max_input_tokens")
        model(document, 1).pop("input_cost_per_token")
        document["solaris"].pop("health")

    problems = problems_of(tmp_path, change)

    assert len(problems) == 5


def test_catalog_without_models_is_refused(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, lambda d: d.update(model_list=[]))

    assert "model_list is empty" in problems


@pytest.mark.parametrize(
    "content", ["- a list", "model_list: [", "x: .inf", "x: 1:30.5", b"\xff\xfe\xff", ""]
)
def test_catalog_of_another_shape_names_its_variable(tmp_path: Path, content: str | bytes) -> None:
    with pytest.raises(ConfigurationError, match="LITELLM_CONFIG"):
        loaded(tmp_path, content)


def test_catalog_that_is_missing_names_its_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="LITELLM_CONFIG cannot be read"):
        load_catalog(tmp_path / "none.yaml")


# The shipped file


@pytest.fixture(scope="module")
def shipped() -> Catalog:
    return load_catalog(LiteLLMSettings().config_path)


@pytest.mark.parametrize(
    ("name", "prices"),
    [
        ("gpt-4", (30_000_000, 60_000_000)),
        ("gpt-4-turbo", (10_000_000, 30_000_000)),
        ("gpt-4o", (5_000_000, 15_000_000)),
        ("gpt-3.5-turbo", (500_000, 1_500_000)),
        ("claude-3-opus", (15_000_000, 75_000_000)),
        ("claude-3-sonnet", (3_000_000, 15_000_000)),
        ("claude-3-haiku", (250_000, 1_250_000)),
        ("gemini-pro", (500_000, 1_500_000)),
        ("gemini-pro-vision", (500_000, 1_500_000)),
    ],
)
def test_shipped_catalog_has_the_models_of_the_seed(
    shipped: Catalog, name: str, prices: tuple[int, int]
) -> None:
    assert (shipped.models[name].prices.input, shipped.models[name].prices.output) == prices


def test_shipped_catalog_never_falls_back_to_the_model_itself(shipped: Catalog) -> None:
    chains = [shipped.resolve(name) or () for name in shipped.names()]

    assert [chain for chain in chains if len(set(chain)) != len(chain)] == []


def test_shipped_catalog_has_the_limits_of_the_seed(shipped: Catalog) -> None:
    assert set(shipped.limits) == {
        Limit(None, "cost", "month", 1_000_000_000, "enforce"),
        Limit("gpt-4", "requests", "minute", 100, "enforce"),
        Limit("gpt-4", "tokens", "minute", 50_000, "enforce"),
        Limit("claude-3-opus", "requests", "minute", 50, "enforce"),
        Limit("claude-3-opus", "tokens", "minute", 25_000, "enforce"),
        Limit(None, "requests", "minute", 1_000, "shadow"),
        Limit(None, "tokens", "minute", 500_000, "shadow"),
    }
