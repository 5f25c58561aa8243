# Every target works from a fresh clone; what it needs is installed into .venv and ./var.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LITELLM_VENV := var/litellm-venv
NODE_CLIENTS := tests/clients/node
# Tests at once: most of a test is waiting, for a process to start or a limit to renew.
JOBS ?= 3

PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# pip's hints about mirrors and its own version are noise to whoever starts the product.
quiet_pip = $(PIP) install --editable '.[$(1)]' 2> >(grep -v '^WARNING' >&2)

# `make run` holds a lock on this file; deleting its database under it would help nobody.
not_running = test ! -e var/run.lock || \
	$(PYTHON) -c 'import fcntl; fcntl.flock(open("var/run.lock"), fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: $(VENV)/run.installed ## Start everything on this machine: Postgres, Valkey, LiteLLM and the proxy
	@$(BIN)/solaris run

.PHONY: test
test: $(VENV)/dev.installed $(LITELLM_VENV)/installed $(NODE_CLIENTS)/node_modules/installed ## Run every test, against real Postgres, Redis protocol and LiteLLM
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)
	@$(BIN)/coverage combine --quiet && $(BIN)/coverage report

.PHONY: lint
lint: $(VENV)/dev.installed types ## Check style, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

.PHONY: types
types: $(VENV)/dev.installed ## Check types (mypy, strict)
	@$(BIN)/mypy

.PHONY: format
format: $(VENV)/dev.installed ## Put the code into shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: pictures
pictures: $(VENV)/dev.installed ## Take the pictures of every page again, into docs/img
	@mkdir -p docs/img && SOLARIS_PICTURES=docs/img $(BIN)/python -m pytest -q tests/pages/test_pictures.py

TEXTS := app/translations
.PHONY: texts
texts: $(VENV)/dev.installed ## Bring the pages' Portuguese into step with their English, and compile it
	@$(BIN)/pybabel --quiet extract --mapping $(TEXTS)/babel.cfg --keyword _l --no-location --sort-output --omit-header --output var/messages.pot app
	@$(BIN)/pybabel --quiet update --input-file var/messages.pot --output-dir $(TEXTS) --locale pt_BR --no-fuzzy-matching --ignore-pot-creation-date --width 100
	@$(BIN)/pybabel --quiet compile --directory $(TEXTS)

.PHONY: bench
bench: $(VENV)/dev.installed $(LITELLM_VENV)/installed ## Measure, side by side in one run (ARGS="--quick" for a short one)
	@$(BIN)/python -m bench $(ARGS)

.PHONY: bench-size
bench-size: $(VENV)/dev.installed $(LITELLM_VENV)/installed ## Measure what is held for a prompt, beside LiteLLM's own count of it
	@$(BIN)/python -m bench.prompt_size

.PHONY: bench-audit
bench-audit: $(VENV)/dev.installed ## Measure how fast the audit trail is verified
	@$(BIN)/python -m bench.audit_verify $(ARGS)

.PHONY: bench-audit-queries
bench-audit-queries: $(VENV)/dev.installed ## Measure how fast the audit trail answers, at two and at four million rows
	@$(BIN)/python -m bench.audit_queries $(ARGS)

.PHONY: bench-admin
bench-admin: $(VENV)/dev.installed ## Measure how soon /api/admin and the pages answer with two million events and 50,000 people
	@$(BIN)/python -m bench.admin_api $(ARGS)

.PHONY: bench-webhooks
bench-webhooks: $(VENV)/dev.installed ## Measure how soon LiteLLM's events are acknowledged, with Postgres there and stopped
	@$(BIN)/python -m bench.webhooks $(ARGS)

.PHONY: bench-webhook-sender
bench-webhook-sender: $(VENV)/dev.installed $(LITELLM_VENV)/installed ## Measure what the callback costs LiteLLM's own calls, with its receiver there and away
	@$(BIN)/python -m bench.webhook_sender $(ARGS)

.PHONY: openapi
openapi: $(VENV)/dev.installed ## Write docs/openapi.json anew, after a change of /api/admin
	@ENVIRONMENT=development $(BIN)/flask --app wsgi openapi write docs/openapi.json

.PHONY: clean
clean: ## Remove what the other targets made, data included
	@$(not_running) || { echo "Está rodando; encerre antes com Ctrl-C. / It is running; stop it first." >&2; exit 1; }
	rm -rf $(VENV) var build dist htmlcov .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage* *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/run.installed: setup.cfg
	@echo "Instalando o proxy em $(VENV) (só na primeira vez, ~30 s) / Installing the proxy (first time only)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(call quiet_pip,embedded)
	@touch $@

$(VENV)/dev.installed: setup.cfg
	@echo "Installing the proxy and its development tools into $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(call quiet_pip,dev)
	@touch $@ $(VENV)/run.installed

$(LITELLM_VENV)/installed: database/litellm-requirements.txt | $(VENV)/dev.installed
	@echo "Installing LiteLLM into an environment of its own"
	@$(BIN)/python -m app.embedded.install
	@touch $@

# The JavaScript clients, with a Node of their own. Where npm is missing their tests say so and skip.
$(NODE_CLIENTS)/node_modules/installed: $(NODE_CLIENTS)/package-lock.json
	@if command -v npm > /dev/null; then \
	  echo "Installing the JavaScript clients for the tests"; \
	  npm ci --prefix $(NODE_CLIENTS) --no-progress --loglevel error && touch $@; \
	else echo "npm is missing: the tests of JavaScript clients will be skipped"; fi
