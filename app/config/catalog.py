"""The models: names, providers, prices, sizes, capabilities, fallbacks, groups and limits.

All of it is read from `database/litellm-config.yaml`, the file that LiteLLM itself starts from,
and nowhere else. Prices become integer micro-USD per million tokens without passing a float.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml

from app.config.errors import ConfigurationError
from app.config.problems import Problem

# USD per token → micro-USD per million tokens.
_PRICE_SCALE = Decimal(10) ** 12

# Whose each may be.
EACH = ("user", "team", "key", "model")

PROVIDERS = {"openai": "openai", "anthropic": "anthropic", "gemini": "google"}


@dataclass(frozen=True, slots=True)
class Prices:
    """Integer micro-USD per million tokens."""

    input: int
    output: int
    cached_input: int
    cache_write: int


@dataclass(frozen=True, slots=True)
class Model:
    """One model that callers may name."""

    name: str
    provider: str
    # What LiteLLM calls at the provider, such as `openai/gpt-4o`.
    target: str
    mode: str
    prices: Prices
    max_input_tokens: int
    max_output_tokens: int
    supports_vision: bool
    supports_function_calling: bool
    fallbacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """A name that stands for several models, tried in this order."""

    name: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Limit:
    """One entry of `budget_and_rate_limits`; ``model`` is None when it holds for all together.

    ``each``: it is one for each user, team, key or model, and not one for all.
    """

    model: str | None
    metric: str
    period: str
    limit: int
    mode: str
    each: str | None = None


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    check_interval_s: float
    unhealthy_threshold: int
    cooldown_s: float


@dataclass(frozen=True, slots=True)
class Catalog:
    """What may be called, and at which price."""

    models: Mapping[str, Model]
    groups: Mapping[str, Group]
    limits: tuple[Limit, ...]
    health: HealthPolicy

    def __contains__(self, name: object) -> bool:
        return name in self.models or name in self.groups

    def names(self) -> list[str]:
        """Return every name that a caller may use: models, then groups."""
        return [*self.models, *self.groups]

    def budgeted_names(self, model: str) -> tuple[str, ...]:
        """Return the names under which a model is budgeted: a group counts as its models."""
        groups = self.groups.values()
        return (model, *(group.name for group in groups if model in group.members))

    def resolve(self, name: str) -> tuple[Model, ...] | None:
        """Return the models to try for ``name``, in order; None when the name is unknown."""
        if model := self.models.get(name):
            return (model, *(self.models[fallback] for fallback in model.fallbacks))
        if group := self.groups.get(name):
            return tuple(self.models[member] for member in group.members)
        return None


def load_catalog(path: Path) -> Catalog:
    """Read the catalogue.

    Raises: ConfigurationError, naming the model and the key of every fault.
    """
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_DecimalLoader)  # noqa: S506  # a SafeLoader
    except (OSError, ValueError, ArithmeticError, yaml.YAMLError) as fault:
        problem = Problem("LITELLM_CONFIG", "unreadable", {"fault": type(fault).__name__})
        raise ConfigurationError([problem]) from fault
    if not isinstance(document, dict):
        raise ConfigurationError([Problem("LITELLM_CONFIG", "not_a_mapping")])
    return _Reader(document).catalog()


class _DecimalLoader(yaml.SafeLoader):
    """Keeps numbers with a point as exact decimals: a float would change a price."""


def _decimal(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Decimal:
    return Decimal(str(loader.construct_scalar(node)).replace("_", ""))


_DecimalLoader.add_constructor("tag:yaml.org,2002:float", _decimal)


class _Reader:
    """Turns LiteLLM's document into the catalogue, collecting every fault on the way."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._router = document.get("router_settings") or {}
        self._own = document.get("solaris") or {}
        self._problems: list[Problem] = []

    def catalog(self) -> Catalog:
        models = self._models()
        groups = self._groups(models)
        catalog = Catalog(models, groups, self._limits(models, groups), self._health())
        if self._problems:
            raise ConfigurationError(self._problems)
        return catalog

    def _models(self) -> dict[str, Model]:
        fallbacks = self._fallbacks()
        models: dict[str, Model] = {}
        for entry in self._document.get("model_list") or []:
            model = self._model(entry, fallbacks)
            if model.name in models:
                self._problem(f"model_list[{model.name}]", "named_twice")
            models[model.name] = model
        self._check_names("fallbacks", tuple(fallbacks), models)
        for model in models.values():
            self._check_names(f"fallbacks[{model.name}]", model.fallbacks, models)
            if model.name in model.fallbacks:
                self._problem(f"fallbacks[{model.name}]", "own_fallback")
        if not models:
            self._problem("model_list", "no_models")
        return models

    def _model(self, entry: Mapping[str, Any], fallbacks: Mapping[str, tuple[str, ...]]) -> Model:
        name = str(entry.get("model_name"))
        info, params = entry.get("model_info") or {}, entry.get("litellm_params") or {}
        target = str(params.get("model"))
        input_price = self._price(name, info, "input_cost_per_token")
        cached, written = "cache_read_input_token_cost", "cache_creation_input_token_cost"
        mode = str(info.get("mode", "chat"))
        return Model(
            name=name,
            provider=PROVIDERS.get(target.split("/", 1)[0], target.split("/", 1)[0]),
            target=target,
            mode=mode,
            prices=Prices(
                input=input_price,
                output=self._price(name, info, "output_cost_per_token"),
                cached_input=self._price(name, info, cached) if cached in info else input_price,
                cache_write=self._price(name, info, written) if written in info else input_price,
            ),
            max_input_tokens=self._count(f"model_list[{name}]", info, "max_input_tokens"),
            max_output_tokens=0
            if mode == "embedding"
            else self._count(f"model_list[{name}]", info, "max_output_tokens"),
            supports_vision=info.get("supports_vision") is True,
            supports_function_calling=info.get("supports_function_calling") is True,
            fallbacks=fallbacks.get(name, ()),
        )

    def _price(self, model: str, info: Mapping[str, Any], key: str) -> int:
        try:
            price = Decimal(info[key]) * _PRICE_SCALE
        except (KeyError, TypeError, ValueError, InvalidOperation):
            price = Decimal("NaN")
        if not price.is_finite():
            self._problem(f"model_list[{model}].{key}", "not_a_price")
            return 0
        if price < 0 or price != price.to_integral_value():
            self._problem(f"model_list[{model}].{key}", "odd_price")
            return 0
        return int(price)

    def _count(self, owner: str, mapping: Mapping[str, Any], key: str) -> int:
        value = mapping.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            self._problem(f"{owner}.{key}", "not_a_count")
            return 1
        return value

    def _fallbacks(self) -> dict[str, tuple[str, ...]]:
        chains: dict[str, tuple[str, ...]] = {}
        for entry in self._router.get("fallbacks") or []:
            chains.update({name: tuple(chain) for name, chain in entry.items()})
        return chains

    def _groups(self, models: Mapping[str, Model]) -> dict[str, Group]:
        groups: dict[str, Group] = {}
        for entry in self._router.get("routing_groups") or []:
            name, members = str(entry.get("group_name")), tuple(entry.get("models") or ())
            self._check_names(f"routing_groups[{name}]", members, models)
            if name in models or name in groups or not members:
                self._problem(f"routing_groups[{name}]", "bad_group")
            groups[name] = Group(name, members)
        return groups

    def _check_names(self, what: str, names: tuple[str, ...], models: Mapping[str, Model]) -> None:
        unknown = [name for name in names if name not in models]
        if unknown:
            self._problem(what, "unknown_model", names=", ".join(map(str, unknown)))

    def _limits(
        self, models: Mapping[str, Model], groups: Mapping[str, Group]
    ) -> tuple[Limit, ...]:
        limits: list[Limit] = []
        for entry in self._own.get("budget_and_rate_limits") or []:
            each = entry.get("each")
            if each is not None:
                limits.extend(self._limits_of_each(entry, each))
                continue
            subject = entry.get("model")
            if subject != "*" and subject not in models and subject not in groups:
                self._problem("budget_and_rate_limits", "unknown_model", names=subject)
            model = None if subject == "*" else subject
            limits.extend(self._limits_of(entry, model, f"budget_and_rate_limits[{subject}]"))
        return tuple(limits)

    def _limits_of_each(self, entry: Mapping[str, Any], each: object) -> list[Limit]:
        owner = f"budget_and_rate_limits[each {each}]"
        if each not in EACH:
            self._problem(f"{owner}.each", "not_a_choice", allowed=", ".join(EACH))
        if "model" in entry:
            self._problem(owner, "model_of_each")
        return [replace(it, each=str(each)) for it in self._limits_of(entry, None, owner)]

    def _limits_of(self, entry: Mapping[str, Any], model: str | None, owner: str) -> list[Limit]:
        mode = str(entry.get("mode", "enforce"))
        limits = []
        if mode not in ("enforce", "shadow"):
            self._problem(f"{owner}.mode", "not_a_choice", allowed="enforce, shadow")
        for key, metric in (("rpm", "requests"), ("tpm", "tokens")):
            if key in entry:
                limits.append(Limit(model, metric, "minute", self._count(owner, entry, key), mode))
        if "max_budget" in entry:
            limits.append(self._money_limit(owner, entry, model, mode))
        return limits

    def _money_limit(
        self, owner: str, entry: Mapping[str, Any], model: str | None, mode: str
    ) -> Limit:
        periods = {"1d": "day", "7d": "week", "1mo": "month"}
        duration = str(entry.get("budget_duration"))
        if duration not in periods:
            allowed = ", ".join(periods)
            self._problem(f"{owner}.budget_duration", "not_a_choice", allowed=allowed)
        return Limit(
            model, "cost", periods.get(duration, "month"), self._micro_usd(owner, entry), mode
        )

    def _micro_usd(self, owner: str, entry: Mapping[str, Any]) -> int:
        budget = entry["max_budget"]
        if not isinstance(budget, int | Decimal) or isinstance(budget, bool) or budget < 0:
            self._problem(f"{owner}.max_budget", "not_an_amount")
            return 0
        return int(Decimal(budget) * 1_000_000)

    def _health(self) -> HealthPolicy:
        policy = self._own.get("health") or {}
        return HealthPolicy(
            check_interval_s=self._seconds(policy, "check_interval_s"),
            unhealthy_threshold=self._count("health", policy, "unhealthy_threshold"),
            cooldown_s=self._seconds(policy, "cooldown_s"),
        )

    def _seconds(self, mapping: Mapping[str, Any], key: str) -> float:
        value = mapping.get(key)
        if not isinstance(value, int | Decimal) or isinstance(value, bool) or value <= 0:
            self._problem(f"health.{key}", "not_a_duration")
            return 1.0
        return float(value)

    def _problem(self, subject: str, code: str, **values: object) -> None:
        self._problems.append(Problem(subject, code, values))
