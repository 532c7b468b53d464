# make run    a running server          make test   all checks and tests
# make lock   renew the lock files      make docs   renew the generated documents

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
VENV := .venv
PIP := $(VENV)/bin/pip --disable-pip-version-check --quiet
COMPILE := $(VENV)-lock/bin/pip-compile --quiet --no-header --generate-hashes --strip-extras \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --upgrade

.PHONY: run test lint docs lock clean
.DEFAULT_GOAL := run

run: $(VENV)/installed
	@exec $(VENV)/bin/hearth run

test: lint
	$(VENV)/bin/pytest -n auto

lint: $(VENV)/installed-for-tests
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

docs: $(VENV)/installed
	$(VENV)/bin/python -m homeserver.config.describe
	$(VENV)/bin/python -m tests.architecture.api_coverage

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "hearth needs Python 3.11 or newer; install it or name it: make PYTHON=…" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)

# Everything that is installed comes from a lock file by its hash; hearth itself is built by what
# the lock holds, without asking an index.
$(VENV)/installed: requirements.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing what hearth needs into $(VENV)"
	@$(PIP) install --require-hashes --requirement requirements.txt
	@$(PIP) install --no-index --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/installed-for-tests: requirements-test.txt $(VENV)/installed
	@echo "installing what the tests need into $(VENV)"
	@$(PIP) install --require-hashes --requirement requirements-test.txt
	@touch $@

lock:
	@test -x $(VENV)-lock/bin/pip-compile || { $(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/pip install --quiet pip-tools; }
	$(COMPILE) --build-deps-for=editable --output-file requirements.txt pyproject.toml
	$(COMPILE) --extra test --constraint requirements.txt --output-file requirements-test.txt pyproject.toml

clean:
	rm -rf $(VENV) $(VENV)-lock .mypy_cache .ruff_cache .pytest_cache
