from __future__ import annotations

import inspect
import json
import os
import subprocess
from pathlib import Path

import pytest
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)

from app.config.settings import PROJECT_ROOT
from app.dialects.steering import is_steering, without_steering
from app.services.litellm_service import LiteLLMService

LITELLM_PYTHON = "LITELLM_PYTHON"
LISTS = """
import json
from litellm.proxy.auth.auth_utils import _BANNED_REQUEST_BODY_PARAMS
from litellm.types.utils import all_litellm_params
print(json.dumps(sorted({*all_litellm_params, *_BANNED_REQUEST_BODY_PARAMS})))
"""


@pytest.mark.parametrize(
    "name",
    """
    model messages stream stream_options temperature top_p n stop max_tokens max_completion_tokens
    presence_penalty frequency_penalty logit_bias logprobs top_logprobs user seed response_format
    tools tool_choice parallel_tool_calls functions function_call modalities audio prediction
    reasoning_effort reasoning verbosity service_tier store safety_identifier prompt_cache_key
    prompt_cache_retention web_search_options thinking top_k min_p repetition_penalty
    chat_template_kwargs enable_thinking a_field_of_tomorrow
    """.split(),
)
def test_field_for_the_model_passes(name: str) -> None:
    assert without_steering({name: 1}) == {name: 1}


def test_field_of_openais_own_client_passes() -> None:
    official = {
        name
        for params in (CompletionCreateParamsNonStreaming, CompletionCreateParamsStreaming)
        for name in params.__annotations__
    }

    # To LiteLLM `metadata` is a way in: tags, spend logs, the end user's name.
    assert {name for name in official if is_steering(name)} <= {"metadata"}


@pytest.mark.parametrize(
    "name",
    """
    fallbacks context_window_fallbacks content_policy_fallbacks num_retries disable_fallbacks
    timeout request_timeout stream_timeout cache metadata litellm_metadata api_base base_url api_key
    api_version mock_response mock_testing_fallbacks mock_testing_rate_limit_error guardrails tags
    custom_llm_provider extra_headers extra_body headers model_list user_config input_cost_per_token
    aws_access_key_id vertex_credentials langfuse_host litellm_session_id drop_params caching no-log
    specific_deployment proxy_server_request secret_fields ssl_verify id request_id self
    """.split(),
)
def test_field_that_steers_litellm_is_stripped(name: str) -> None:
    assert without_steering({"model": "gpt-4", name: 1}) == {"model": "gpt-4"}


def test_body_without_steering_leaves_nested_fields_alone() -> None:
    body = {"tools": [{"function": {"parameters": {"timeout": 1, "api_key": "x"}}}]}

    assert without_steering(body) == body


def test_body_without_steering_never_holds_an_argument_of_the_service() -> None:
    arguments = set(inspect.signature(LiteLLMService.chat_completion).parameters) - {"params"}
    read_from_the_body = {"model", "messages", "user"}

    assert {name for name in arguments if not is_steering(name)} == read_from_the_body


@pytest.mark.litellm
def test_fields_of_the_installed_litellm_are_all_stripped() -> None:
    python = Path(
        os.environ.get(LITELLM_PYTHON) or PROJECT_ROOT / "var" / "litellm-venv" / "bin" / "python"
    )
    if not python.exists():
        pytest.skip(f"LiteLLM is not installed: no {python} (make test installs it)")
    offline = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PATH": os.environ["PATH"]}

    printed = subprocess.run(
        [python, "-c", LISTS], env=offline, capture_output=True, text=True, check=True
    )

    names = json.loads(printed.stdout.splitlines()[-1])
    assert len(names) > 300
    assert [name for name in names if not is_steering(name)] == []
