"""LiteLLM's events: read from whatever form a sender has, put on disk, brought into Postgres."""
