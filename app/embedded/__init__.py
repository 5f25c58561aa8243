"""Everything on one machine: real Postgres, Valkey and LiteLLM beside the proxy."""
