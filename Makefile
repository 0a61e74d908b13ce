# `make retrain` and `make test` are all it takes on a machine with Python 3.11 to 3.13, git and make.
export NO_ALBUMENTATIONS_UPDATE = 1
export GX_ANALYTICS_ENABLED = false
export DVC_NO_ANALYTICS = 1
export SM_FRAMEWORK = tf.keras

UV_VERSION = 0.13.9
UV := $(or $(shell command -v uv),.tools/uv/bin/uv)
RUN := $(UV) run --frozen --no-sync
# Each file stays in one process, so what it sets up is set up once; tests/conftest.py has the order.
SPREAD = --dist loadfile --no-loadscope-reorder
ARGS =
# Of hypothesis: how many examples its tests try.
PROFILE = quick

# What .venv has beside `dev`, gpu or gpu-jax or both; stays until something else is asked for.
EXTRA := $(shell sed -n 2p .venv/installed 2>/dev/null)
OTHER := $(shell test ! -s .venv/installed || test "$(EXTRA)" = "$$(sed -n 2p .venv/installed)" || echo other)
# The commands of an environment name its folder: where the project was moved to, it is made anew.
MOVED := $(shell test ! -s .venv/installed || grep -qxF "$(CURDIR)" .venv/installed || echo moved)

.DEFAULT_GOAL = help
.PHONY: other moved help setup data retrain test test-cluster check format audit services-down clean

help:  ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

retrain: setup data  ## The main job: services up, one run of the pipeline, verdict (ARGS="--set train.epochs=3")
	@$(RUN) lungseg up
	@$(RUN) lungseg retrain $(ARGS)

test: PROFILE = thorough
test: check  ## All tests: what `make check` does, with more examples, then the slow ones with real services
	@$(RUN) pytest -m "slow and not cluster" -n 4 $(SPREAD)

test-cluster: setup  ## All tests of several hosts on this machine, as root: ten minutes and more
	@LUNGSEG_TEST_CLUSTER=1 $(RUN) pytest tests/cluster -s

check: setup  ## What every commit must pass: ruff, mypy --strict, import-linter, the fast tests, their coverage
	@$(RUN) ruff format --check .
	@$(RUN) ruff check .
	@$(RUN) mypy
	@$(RUN) lint-imports --no-logo
	@$(RUN) pytest -m "not slow" -n 2 $(SPREAD) --hypothesis-profile=$(PROFILE) --cov --cov-report=term

format: setup  ## Format the code
	@$(RUN) ruff format .
	@$(RUN) ruff check --fix .

setup: .venv/installed  ## Install what uv.lock names, and uv itself when it is missing (EXTRA=gpu, gpu-jax)

# Compiled once, here: TensorFlow, Airflow and MLflow take two to three times as long to import from
# their sources, which every process does where PYTHONDONTWRITEBYTECODE is set, as in containers.
.venv/installed: uv.lock pyproject.toml $(MOVED) $(OTHER) | .tools/uv-ready
	@test -z "$(MOVED)" || rm -rf .venv .tools/audit
	@$(UV) sync --frozen --quiet $(patsubst %,--extra=%,dev $(EXTRA)) --compile-bytecode
	@printf '%s\n' "$(CURDIR)" "$(EXTRA)" > $@

other moved:

.tools/uv-ready:
	@mkdir -p .tools
	@command -v uv >/dev/null || test -x .tools/uv/bin/uv || \
	  { echo "installing uv into .tools"; python3 -m venv .tools/uv && \
	    .tools/uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); }
	@touch $@

data: setup
	@test -n "$$(ls -A data 2>/dev/null)" || $(RUN) dvc pull --quiet data

audit: setup  ## What is shipped: known weaknesses, licences, and a bill of materials in dist/
	@UV_PROJECT_ENVIRONMENT="$(CURDIR)/.tools/audit" $(UV) sync --frozen --quiet --only-group audit
	@$(RUN) python tools/audit.py $(UV) .tools/audit/bin

services-down: setup  ## Stop the local MLflow and Airflow
	@$(RUN) lungseg down

clean: setup  ## Stop the services of .lungseg, remove their state and results (never data/ or the cache)
	@env -u LUNGSEG_HOME $(RUN) lungseg down
	@rm -rf artifacts
	@test ! -d .lungseg || find .lungseg -mindepth 1 -maxdepth 1 ! -name cache -exec rm -rf {} +
