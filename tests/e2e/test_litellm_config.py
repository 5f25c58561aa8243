"""The shipped configuration, judged by LiteLLM itself."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml

from app.config.settings import LiteLLMSettings
from app.embedded.litellm_config import render
from app.embedded.litellm_server import LiteLLMEnvironment, LiteLLMServer, place_callback
from tests.conftest import MASTER_KEY

pytestmark = pytest.mark.litellm

SHIPPED = LiteLLMSettings().config_path
EVERYTHING = {
    "REDIS_HOST": "127.0.0.1",
    "LANGFUSE_PUBLIC_KEY": "pk",
    "LANGFUSE_SECRET_KEY": "sk",
    "LANGFUSE_HOST": "http://127.0.0.1:9",
    "SLACK_WEBHOOK_URL": "http://127.0.0.1:9/slack",
    "LITELLM_SLACK_ALERTS": "true",
}


def validate(
    environment: LiteLLMEnvironment,
    config: Path,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [
        environment.python.with_name("litellm"),
        "--config",
        config,
        "--validate_config",
    ]
    env = {"PATH": os.environ["PATH"], "HOME": str(config.parent), "LITELLM_MASTER_KEY": MASTER_KEY}
    return subprocess.run(
        command,
        env=env | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"} | dict(variables),
        cwd=config.parent,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_shipped_configuration_is_valid_to_litellm(
    litellm_environment: LiteLLMEnvironment,
) -> None:
    result = validate(litellm_environment, SHIPPED)
    assert result.returncode == 0, result.stdout + result.stderr


def test_configuration_with_everything_switched_on_is_valid_to_litellm(
    litellm_environment: LiteLLMEnvironment, tmp_path: Path
) -> None:
    config, _, switched_on = render(
        yaml.safe_load(SHIPPED.read_text()),
        EVERYTHING,
        litellm_environment.has_package,
        mock_locale="pt_BR",
    )
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    place_callback(tmp_path)
    result = validate(litellm_environment, path, EVERYTHING)
    assert result.returncode == 0, result.stdout + result.stderr
    assert {"redis-cache", "slack-alerting"} <= set(switched_on)


def test_key_that_litellm_refuses_is_found_by_the_validation(
    litellm_environment: LiteLLMEnvironment, tmp_path: Path
) -> None:
    config = yaml.safe_load(SHIPPED.read_text())
    config["router_settings"]["health_check_interval"] = 60
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    place_callback(tmp_path)
    assert validate(litellm_environment, path).returncode != 0


def test_litellm_prices_each_model_as_the_catalogue_does(litellm: LiteLLMServer) -> None:
    informed = {entry["model_name"]: entry["model_info"] for entry in get(litellm, "/model/info")}
    shipped = yaml.safe_load(SHIPPED.read_text())["model_list"]
    wanted = {entry["model_name"]: entry["model_info"] for entry in shipped}
    for key in ("input_cost_per_token", "output_cost_per_token"):
        assert {name: info[key] for name, info in informed.items()} == {
            name: info[key] for name, info in wanted.items()
        }


def test_embedding_model_answers_through_litellm(litellm: LiteLLMServer) -> None:
    body = {"model": "text-embedding-3-small", "input": "olá"}
    request = urllib.request.Request(
        f"{litellm.base_url}/v1/embeddings",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {MASTER_KEY}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        assert json.load(response)["data"][0]["embedding"]


def get(litellm: LiteLLMServer, path: str) -> Any:
    request = urllib.request.Request(
        f"{litellm.base_url}{path}", headers={"Authorization": f"Bearer {MASTER_KEY}"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)["data"]
