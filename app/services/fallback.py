"""Which models may answer a request, and in which order they are tried.

Only before the first byte has reached the caller, and never after a mistake of the caller's own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol, TypeVar

from app.config.catalog import Catalog, Model
from app.dialects.base import ModelRequest, Needs
from app.services.health_service import Refusal
from app.utils.exceptions import (
    InsufficientQuotaError,
    InvalidRequestError,
    LiteLLMError,
    LiteLLMUnreachableError,
    ModelNotAllowedError,
    ModelNotAvailableError,
    ModelNotFoundError,
    RateLimitedError,
    SolarisError,
    TooManyRequestsError,
)

# Bytes of text to a token, on the small side: a model is left out only where the text is sure not
# to fit.
MAX_BYTES_PER_TOKEN = 8

NOTHING_STOPPED: Mapping[str, SolarisError] = MappingProxyType({})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model of the chain; ``unfit`` says why it cannot answer this request, or is None."""

    model: Model
    unfit: str | None


class Leave(Protocol):
    """Leave to ask one model; what came of it is told here, once or not at all."""

    def succeeded(self) -> None: ...
    def failed(self, reason: str) -> None: ...
    def rate_limited(self, retry_after_s: float | None) -> None: ...
    def release(self) -> None: ...


class Health(Protocol):
    """Who says which model may be asked now: HealthService, or whoever only looks at it."""

    async def admit(self, model: str) -> Leave | Refusal: ...


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one candidate: answered, failed or skipped, and why."""

    model: str
    outcome: str
    reason: str | None = None
    litellm_status: int | None = None

    def as_dict(self) -> dict[str, str | int | None]:
        return {name: getattr(self, name) for name in self.__slots__}


def candidates(
    catalog: Catalog,
    request: ModelRequest,
    allowed_models: frozenset[str] | None,
    stopped: Mapping[str, SolarisError] = NOTHING_STOPPED,
) -> list[Candidate]:
    """Return the models to try for a request, in order.

    ``allowed_models`` binds the fallbacks of a model; a group stands for its members. ``stopped``
    are models that a kill switch keeps everybody from, each with what to say of it.

    Raises: ModelNotFoundError, ModelNotAllowedError; InvalidRequestError, where the model that was
    asked for, or every member of the group, cannot do what is asked; what ``stopped`` says, where
    no other model could answer.
    """
    models = catalog.resolve(request.model)
    if models is None:
        raise ModelNotFoundError(request.model)
    if allowed_models is not None and request.model not in allowed_models:
        raise ModelNotAllowedError(request.model)
    if request.model in catalog.groups:
        chain = [Candidate(model, _lacks(model, request.needs)) for model in models]
        asked = chain
    else:
        asked = [Candidate(models[0], _cannot(models[0], request.needs))]
        chain = asked + [
            Candidate(model, _unfit(model, request.needs, allowed_models)) for model in models[1:]
        ]
    if all(candidate.unfit for candidate in asked):
        raise InvalidRequestError(str(asked[0].unfit), param="model", model=request.model)
    return _without(stopped, chain) if stopped else chain


def _without(stopped: Mapping[str, SolarisError], chain: list[Candidate]) -> list[Candidate]:
    left = [
        replace(it, unfit=it.unfit or "switched_off") if it.model.name in stopped else it
        for it in chain
    ]
    if all(it.unfit for it in left):
        raise next(stopped[it.model.name] for it in left if it.unfit == "switched_off")
    return left


async def first_answer(
    chain: list[Candidate],
    health: Health,
    attempt: Callable[[Model], Awaitable[T]],
    path: list[Step],
    has_time: Callable[[], bool],
    *,
    is_whole: bool = True,
) -> tuple[Model, T]:
    """Return the first model that answers, and its answer; ``path`` takes note of every step.

    ``attempt`` raises SolarisError where its model does not answer. An answer that is not
    ``is_whole`` has only begun: how its model did is told by whoever reads it.

    A fallback that the caller has no budget for is left out, since one after it may be cheaper.

    Raises: what the first model that was asked failed with; InsufficientQuotaError or
    TooManyRequestsError, where there is no budget for the first, or for any; ModelNotAvailableError
    or RateLimitedError, where none could be asked.
    """
    first_error: SolarisError | None = None
    no_budget: SolarisError | None = None
    refusals: list[Refusal] = []
    for model in _fit(chain, path):
        permit = await health.admit(model.name)
        if isinstance(permit, Refusal):
            refusals.append(permit)
            path.append(Step(model.name, "skipped", permit.reason))
            continue
        try:
            answer = await attempt(model)
            if is_whole:
                permit.succeeded()
        except SolarisError as error:
            if _is_over_budget(error) and path:
                path.append(Step(model.name, "skipped", error.cause))
                no_budget = no_budget or error
                continue
            _tell(permit, error)
            path.append(Step(model.name, "failed", error.cause, error.upstream_status))
            first_error = first_error or error
            if not _helps_to_go_on(error) or not has_time():
                break
        else:
            path.append(Step(model.name, "answered"))
            return model, answer
        finally:
            permit.release()
    raise first_error or no_budget or _nobody(refusals)


def _fit(chain: list[Candidate], path: list[Step]) -> Iterator[Model]:
    for candidate in chain:
        if candidate.unfit:
            path.append(Step(candidate.model.name, "skipped", candidate.unfit))
        else:
            yield candidate.model


def _unfit(model: Model, needs: Needs, allowed: frozenset[str] | None) -> str | None:
    if allowed is not None and model.name not in allowed:
        return "model_not_allowed"
    return _lacks(model, needs)


def _lacks(model: Model, needs: Needs) -> str | None:
    """Say what keeps a model from answering, where another one may."""
    if reason := _cannot(model, needs):
        return reason
    room = model.max_input_tokens * needs.prompts
    is_too_long = needs.text_bytes > room * MAX_BYTES_PER_TOKEN
    return "too_long" if is_too_long else None


def _cannot(model: Model, needs: Needs) -> str | None:
    """Say what a model cannot do at all. Whether a text fits, its provider knows best."""
    if model.mode != needs.mode:
        return "wrong_mode"
    if needs.images and not model.supports_vision:
        return "no_vision"
    if needs.tools and not model.supports_function_calling:
        return "no_tools"
    return None


def _tell(permit: Leave, error: SolarisError) -> None:
    """Tell the model's health what happened, unless it says nothing of the model."""
    if _is_providers_limit(error):
        permit.rate_limited(error.retry_after_s)
    elif _is_models_fault(error):
        permit.failed(error.cause)


def _is_models_fault(error: SolarisError) -> bool:
    return (
        isinstance(error, LiteLLMError)
        and error.status >= 500
        and not isinstance(error, LiteLLMUnreachableError)
    )


def _is_providers_limit(error: SolarisError) -> bool:
    return isinstance(error, RateLimitedError) and not isinstance(error, TooManyRequestsError)


def _is_over_budget(error: SolarisError) -> bool:
    return isinstance(error, InsufficientQuotaError | TooManyRequestsError)


def _helps_to_go_on(error: SolarisError) -> bool:
    return _is_providers_limit(error) or _is_models_fault(error)


def _nobody(refusals: list[Refusal]) -> SolarisError:
    waits_s = [refusal.left_s for refusal in refusals if refusal.left_s is not None]
    if refusals and len(waits_s) == len(refusals):
        return RateLimitedError(retry_after_s=min(waits_s))
    return ModelNotAvailableError()
