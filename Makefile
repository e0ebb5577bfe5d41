# Targets of GES Backup History; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 4
EXTRAS := aksk,page,notebook,excel,postgres,lake,spark
.DEFAULT_GOAL := help
unexport PYTHONDONTWRITEBYTECODE # else each command that a test starts compiles dlt anew
unexport WORKERS # dlt would take it for a setting of its own

.PHONY: help demo test check integrations coverage soak bench notebook pictures tables pins clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.base ## Set up what is needed, then load a living stand-in of the API and show it.
	@$(BIN)/ges-backups demo

test: $(VENV)/.dev ## Set up what is needed, then run the tests.
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

check: $(VENV)/.dev ## Format, lint and types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

integrations: $(VENV)/.dev ## Installed wheels, other versions, old clients, dlt init, Dagster (AIRFLOW=1: Airflow).
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --timeout 900 -m integration tests/doors

coverage: $(VENV)/.dev ## All tests with branch coverage, that of the commands they start included.
	$(BIN)/python -m pytest -n $(WORKERS) --cov --cov-report=term-missing:skip-covered

soak: $(VENV)/.dev ## Thousands of random lives, faults and kills (hours; SOAK=N scales).
	GES_SOAK=$(or $(SOAK),20) $(BIN)/python -m pytest -n $(WORKERS) --timeout 0 -m 'soak or not soak' \
		tests/loading tests/source/test_dirty_rows.py

bench: $(VENV)/.dev ## Speed and memory beside other tools, on the same emulator.
	$(BIN)/python tests/benchmarks/run.py

notebook: $(VENV)/.dev ## Open the notebook on the demo's data.
	@test -f ges_demo.duckdb || $(BIN)/ges-backups demo
	GES_BACKUPS_DATABASE=ges_demo.duckdb $(BIN)/marimo edit notebooks/backup_trends.py

pictures: $(VENV)/.dev ## Make the pictures of the README anew (needs Chromium).
	$(BIN)/python docs/make_pictures.py

tables: $(VENV)/.dev ## Write the reference of tables and reports anew.
	$(BIN)/python docs/make_tables.py

pins: $(VENV)/.dev ## Resolve the pinned versions anew.
	$(BIN)/uv pip compile -q --universal --upgrade --no-header --no-annotate --all-extras \
		--group dev --group lake-dev pyproject.toml --python-version 3.11 -o constraints.txt

clean: ## Remove the environment and all caches.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --upgrade "pip>=25.1"
	@touch $@

$(VENV)/.base: $(VENV)/.venv pyproject.toml constraints.txt
	@echo 'Setting up .venv (a minute)'
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[page]'
	@touch $@

$(VENV)/.dev: $(VENV)/.venv pyproject.toml constraints.txt
	@echo 'Setting up .venv with what development needs (a minute or two)'
	@$(BIN)/python -m pip install -q -c constraints.txt uv
	@$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt \
		-e '.[$(EXTRAS)]' --group dev --group lake-dev
	@touch $@ $(VENV)/.base
