"""The body fields that steer LiteLLM, or this proxy, instead of the model; no client may set them.

Derived from LiteLLM 1.106.2's `all_litellm_params` and `_BANNED_REQUEST_BODY_PARAMS`: retries,
fallbacks, routing, credentials, addresses, prices, caching, logging, mocks. A test compares these
rules with the installed LiteLLM's own lists, so that an upgrade cannot add a hole unnoticed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STEERING_PREFIXES = (
    "_",
    "adaptive_router_",
    "agentcore_",
    "anthropic-workspace",
    "anthropic_",
    "arize_",
    "auto_router_",
    "aws_",
    "azure_",
    "bedrock_",
    "braintrust_",
    "cache_creation_",
    "cache_key",
    "cache_read_",
    "complexity_router_",
    "configurable_clientside_",
    "dd_",
    "default_api_key_",
    "fireworks_",
    "gcs_",
    "humanloop_",
    "input_cost_per_",
    "langfuse_",
    "langsmith_",
    "litellm_",
    "lunary_",
    "mock_",
    "newrelic_",
    "nvcf_",
    "ocr_cost_per_",
    "openai_",
    "output_cost_per_",
    "posthog_",
    "prompt_v",
    "proxy_",
    "quality_router_",
    "regional_",
    "s3_",
    "sagemaker_",
    "signoz_",
    "timeout",
    "use_",
    "user_api_key_",
    "vertex_",
    "wandb_",
)

STEERING_FIELDS = frozenset(
    """
    acompletion aembedding aimg_generation allm_passthrough_route allow_client_keepalive_override
    allowed_model_region allowed_openai_params annotation_cost_per_page
    annotation_cost_per_page_batches api_base api_key api_version assistant_continue_message
    async_call atext_completion attempted_targets azure base_model base_url bos_token
    budget_duration cache caching caching_groups citation_cost_per_token client client_id
    client_secret client_side_timeout complete_response completion_call_id
    context_window_fallback_dict cooldown_time cost_per_query cost_per_second custom_llm_provider
    custom_prompt_dict data_residency deployment_url disable_add_transform_inline_image_block
    disable_fallbacks drop_params additional_drop_params enable_json_schema_validation
    enable_prompt_caching enable_tag_filtering ensure_alternating_roles eos_token extra_body
    extra_headers fallback_depth fallbacks context_window_fallbacks content_policy_fallbacks
    fastest_response final_prompt_value force_timeout google_maps_grounding_cost_per_query
    guardrails headers hf_model_name id itpm keepalive_seconds log_client_error_tracebacks
    logger_fn max_agentic_loops max_budget max_fallbacks max_file_size_mb max_parallel_requests
    max_retries merge_reasoning_content_in_choices metadata model_alias_map model_config
    model_file_id_mapping model_info model_list no-log num_retries order organization otpm
    output_vector_size preset_cache_key prompt_environment prompt_id prompt_label
    provider_affinity_header provider_specific_header region_name request_id request_timeout
    retry_policy
    retry_strategy roles routing_strategy rpm rust search_context_cost_per_query search_tool_name
    secret_fields self shared_session silent_model slack_webhook_url specific_deployment
    ssl_verify stream_chunk_size stream_response stream_timeout stream_timeout_by_service_tier
    supports_system_message tag_regex tags tenant_id text_completion tiered_pricing tpm ttl
    turn_off_message_logging user_config user_continue_message verbose weave_project_id weight
    workspace_id
    """.split()
)


def is_steering(name: str) -> bool:
    return name in STEERING_FIELDS or name.startswith(STEERING_PREFIXES)


def without_steering(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``body`` without what a client must not decide; everything else stays as it is."""
    return {name: value for name, value in body.items() if not is_steering(name)}
