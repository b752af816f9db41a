# Tripdesk. `make` lists what there is; everything runs in .venv, which is made and kept up to date on the way.

PYTHON ?= python3
RUN := .venv/bin/python -m
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-long check bench screenshots shell fmt

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s  %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "make demo takes PORT (8000), HOST (127.0.0.1), TRIPDESK_HOME (.tripdesk), DEMO_SCALE (small, medium, large or"
	@echo "a number), DEMO_PASSWORD (tripdesk-demo) and RATE_LIMITS (on), as in: make demo PORT=8100 DEMO_SCALE=medium"
	@echo "make shell CMD=\"flask --app wsgi ledger verify\" runs one command. make turns any failure into status 2;"
	@echo ".venv/bin/python -m dev.shell \"flask --app wsgi ledger verify\" keeps the command's own."

demo: $(INSTALLED) ## The whole product with demo data on http://127.0.0.1:8000; Ctrl-C stops it
	@exec $(RUN) dev.demo

test: $(INSTALLED) ## Every test, on services of its own (ARGS="-k refund" passes options to pytest)
	@$(RUN) pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

test-long: $(INSTALLED) ## 1,000 stories of money, other ones each time; a storm over 2,000 payments (STORIES=, SEED=, STORM=)
	@MONEY_RUNS=$(or $(STORIES),1000) MONEY_SEED=$(SEED) $(RUN) pytest -n 4 --dist load $(ARGS) \
	  tests/payments/test_money_machine.py
	@MONEY_STORM=$(or $(STORM),2000) $(RUN) pytest -n 0 -s tests/faults/test_money_storm.py

check: $(INSTALLED) ## Format, lint, types, templates, migrations, security
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) djlint --lint --quiet templates
	$(RUN) dev.lint_migrations
	$(RUN) bandit --quiet --recursive --severity-level medium app jobs dev bench wsgi.py

bench: $(INSTALLED) ## The benchmarks: a table, and bench/results.json
	@$(RUN) bench

screenshots: $(INSTALLED) ## Every console page as each role sees it (of the running demo, or of one for this)
	@$(RUN) dev.screenshots $(ARGS)

shell: $(INSTALLED) ## A shell with the running demo's settings
	@exec $(RUN) dev.shell

fmt: $(INSTALLED) ## Format the code and fix what the linter can
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

$(INSTALLED): requirements.txt requirements-dev.txt
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "There is no $(PYTHON): install Python 3.11 or newer, or name one, as in make demo PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Tripdesk needs Python 3.11 or newer, and $(PYTHON) is $$("$(PYTHON)" -V 2>&1): name another," \
	  "as in make demo PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) can't make virtual environments: install its venv module (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@.venv/bin/python -m pip --version >/dev/null 2>&1 || { echo "Making .venv"; "$(PYTHON)" -m venv --clear .venv; }
	@echo "Installing what requirements.txt and requirements-dev.txt name into .venv"
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt || { \
	  echo "The installation failed, see above. It needs the network once; afterwards everything works offline." >&2; exit 1; }
	@touch $(INSTALLED)
