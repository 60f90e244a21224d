# `make run` is all that a fresh machine needs: Python 3.11 or newer, and make.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run install test lint clean screenshots bench bench-trigger bench-worker bench-latency bench-growth bench-memory bench-settings

PYTHONS := python3.13 python3.12 python3.11 python3
PYTHON := .venv/bin/python
PIP := $(PYTHON) -m pip --disable-pip-version-check

help:
	@echo 'make run      start everything: Redis, the web, the workers (Ctrl-C stops it)'
	@echo 'make install  install what the service and your workflows import, and start nothing'
	@echo 'make test     run the tests'
	@echo 'make lint     check style and types'
	@echo 'make bench    measure it beside its peers, 30 minutes; docs/benchmarks.md says what there is'
	@echo 'make clean    remove .venv and caches; the data of `make run` under data/ stays'

run: install
	@exec $(PYTHON) -m trigger up

# The packages that the workflows import are listed in requirements.txt beside the config. Our own pins bound them: a
# version that would break the service is refused. The copy in .venv is what was installed last, so an edit, another
# config and a new .venv all count as news.
install: .venv/requirements.stamp
	@own="$$(dirname "$${TRIGGER_CONFIG:-config.yaml}")/requirements.txt"; last=.venv/own-requirements.txt; \
	if [ -f "$$own" ] && [ ! "$$own" -ef requirements.txt ] && \
	    { ! cmp -s "$$own" $$last || [ .venv/requirements.stamp -nt $$last ]; }; then \
	    echo "installing the packages of $$own into .venv"; \
	    $(PIP) install --quiet -r "$$own" -c requirements.txt && cp "$$own" $$last; \
	fi

# Faults are about time: they are injected when the other tests are done, and chaos with nothing else running.
CHAOS := tests/faults/test_chaos.py

test: .venv/requirements-dev.stamp
	@$(PYTHON) -m pytest --numprocesses auto --dist loadfile --ignore tests/faults
	@$(PYTHON) -m pytest --numprocesses auto --dist worksteal tests/faults --ignore $(CHAOS)
	@$(PYTHON) -m pytest $(CHAOS)

lint: .venv/requirements-dev.stamp
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy

bench: bench-trigger bench-worker bench-latency bench-growth bench-memory bench-settings

bench-trigger: .venv/requirements.stamp
	@$(PYTHON) -m bench.trigger_path --save

bench-worker: .venv/requirements.stamp
	@$(PYTHON) -m bench.worker_rate --save

bench-latency: .venv/requirements.stamp
	@$(PYTHON) -m bench.latency --save

bench-growth: .venv/requirements.stamp
	@$(PYTHON) -m bench.growth --save

bench-memory: .venv/requirements.stamp
	@$(PYTHON) -m bench.memory --save

bench-settings: .venv/requirements.stamp
	@$(PYTHON) -m bench.web_settings --save

# The pictures of the console in docs/images/, with Debian's chromium.
screenshots: .venv/requirements-dev.stamp
	@$(PYTHON) -m tests.browser.screenshots

clean:
	rm -rf .venv bench/.venvs .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/requirements.stamp: requirements.txt | .venv/bin/python
	@echo 'installing the requirements into .venv'
	@$(PIP) install --quiet -r requirements.txt
	@touch $@

.venv/requirements-dev.stamp: requirements.txt requirements-dev.txt | .venv/bin/python
	@echo 'installing the requirements and the test tools into .venv'
	@$(PIP) install --quiet -r requirements-dev.txt
	@touch .venv/requirements.stamp $@

# The newest Python that can make a virtual environment. A name on PATH need not run (pyenv's shims), so each is tried.
.venv/bin/python:
	@new=; able=; \
	for name in $(PYTHONS); do \
	    $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    new=$${new:-$$name}; \
	    if $$name -c 'import venv, ensurepip' 2>/dev/null; then able=$$name; break; fi; \
	done; \
	if [ -z "$$new" ]; then \
	    echo 'Trigger needs Python 3.11 or newer, and none of $(PYTHONS) is that. Install one; on Debian and' >&2; \
	    echo 'Ubuntu: sudo apt install python3 python3-venv' >&2; exit 1; \
	elif [ -z "$$able" ]; then \
	    echo "$$new is there, but it can't make virtual environments. On Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; \
	fi; \
	echo "making .venv with $$($$able --version)"; \
	$$able -m venv --clear .venv
