# make run    a running server          make test   all checks and tests
# make lock   renew the lock files      make docs   renew the generated documents
# make interop   hearth and a real Synapse side by side (docs/interoperability.md)
# make calls   group calls with a real LiveKit (docs/calls.md)
# make images   containers for three architectures   make images-run   run them (docs/packaging.md)
# make clients   a real web client's code in a headless Chromium (docs/clients.md)

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
VENV := .venv
PIP := $(VENV)/bin/pip --disable-pip-version-check --quiet
COMPILE := $(VENV)-lock/bin/pip-compile --quiet --no-header --generate-hashes --strip-extras \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --upgrade
# The Python that has Synapse; it is installed unless another one is named.
SYNAPSE_PYTHON ?= $(abspath $(VENV)-synapse/bin/python)

# The LiveKit server of `make calls`; Go builds it, as for the image, unless another one is named.
# Later versions need modules that Go cannot fetch.
LIVEKIT := github.com/livekit/livekit-server/cmd/server
LIVEKIT_SERVER ?= $(abspath $(VENV)-calls/livekit/server)

# The browser of `make clients`, unless another one is named.
CHROMIUM ?= $(shell for b in chromium chromium-browser google-chrome; do command -v $$b && break; done)
NPM := npm --prefix tests/clients --no-audit --no-fund --no-update-notifier --ignore-scripts

.PHONY: run test lint interop calls clients docs images images-run images-lock lock clean
.DEFAULT_GOAL := run

run: $(VENV)/installed
	@exec $(VENV)/bin/hearth run

test: lint $(VENV)-s3/installed
	MOTO_SERVER=$(abspath $(VENV)-s3/bin/moto_server) $(VENV)/bin/pytest -n auto

lint: $(VENV)/installed-for-tests
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

interop: $(VENV)/installed-for-tests $(if $(filter $(abspath $(VENV)-synapse)/%,$(SYNAPSE_PYTHON)),$(VENV)-synapse/installed)
	SYNAPSE_PYTHON=$(SYNAPSE_PYTHON) $(VENV)/bin/pytest -m interop tests/interop

calls: $(VENV)/installed-for-tests $(VENV)-calls/installed $(if $(and $(CHROMIUM),$(shell command -v npm)),tests/clients/node_modules/installed)
	@command -v go > /dev/null || test -x $(LIVEKIT_SERVER) || \
		echo "LiveKit cannot be built without Go; install it, or name a LiveKit: make calls LIVEKIT_SERVER=…" >&2
	@test -x $(LIVEKIT_SERVER) || ! command -v go > /dev/null || { echo "building $(LIVEKIT)"; \
		CGO_ENABLED=0 go build -C docker/livekit-server -trimpath -buildvcs=false -ldflags="-s -w" \
			-o $(LIVEKIT_SERVER) $(LIVEKIT); }
	LIVEKIT_SERVER=$(LIVEKIT_SERVER) LIVEKIT_PYTHON=$(abspath $(VENV)-calls/bin/python) \
		CHROMIUM=$(CHROMIUM) $(VENV)/bin/pytest -m calls tests/calls tests/clients/test_calls.py

clients: $(VENV)/installed-for-tests tests/clients/node_modules/installed
	CHROMIUM=$(CHROMIUM) $(VENV)/bin/pytest -m clients tests/clients

# Images of what is in this checkout, in docker/out; nothing is run on the way, no root is needed.
# ARCH=arm64 makes or runs one architecture only.
IMAGEBUILDER := PYTHONPATH=docker $(VENV)/bin/python -m imagebuilder
images: $(VENV)/installed
	@$(IMAGEBUILDER) build $(ARCH:%=--arch %)
	@if command -v go > /dev/null; then $(IMAGEBUILDER) livekit $(ARCH:%=--arch %); \
		else echo "LiveKit's image is left out: there is no Go to build it"; fi

images-run: $(VENV)/installed
	@$(IMAGEBUILDER) run $(ARCH:%=--arch %)

images-lock: $(VENV)/installed
	@$(IMAGEBUILDER) lock $(ARCH:%=--arch %)

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

$(VENV)-synapse/installed: requirements-interop.txt
	@test -n "$(PYTHON)" || { echo "Synapse needs Python 3.10 or newer; name it: make PYTHON=…" >&2; exit 1; }
	@echo "installing Synapse into $(VENV)-synapse"
	@$(PYTHON) -m venv --clear $(VENV)-synapse
	@$(VENV)-synapse/bin/pip --disable-pip-version-check --quiet install --require-hashes --requirement requirements-interop.txt
	@touch $@

$(VENV)-s3/installed: requirements-s3.txt $(VENV)/installed
	@echo "installing a server that speaks S3 into $(VENV)-s3"
	@$(VENV)/bin/python -m venv --clear $(VENV)-s3
	@$(VENV)-s3/bin/pip --disable-pip-version-check --quiet install --require-hashes --requirement requirements-s3.txt
	@touch $@

$(VENV)-calls/installed: requirements-calls.txt
	@test -n "$(PYTHON)" || { echo "The client library of LiveKit needs Python; name it: make PYTHON=…" >&2; exit 1; }
	@echo "installing the client library of LiveKit into $(VENV)-calls"
	@$(PYTHON) -m venv --clear $(VENV)-calls
	@$(VENV)-calls/bin/pip --disable-pip-version-check --quiet install --require-hashes --requirement requirements-calls.txt
	@touch $@

tests/clients/node_modules/installed: tests/clients/package-lock.json
	@command -v npm > /dev/null || { echo "Node.js 18 or newer with npm is needed" >&2; exit 1; }
	@echo "installing web clients into tests/clients/node_modules"
	@$(NPM) --loglevel=error ci
	@touch $@

lock:
	@test -x $(VENV)-lock/bin/pip-compile || { $(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/pip install --quiet pip-tools; }
	$(COMPILE) --build-deps-for=editable --output-file requirements.txt pyproject.toml
	$(COMPILE) --extra test --constraint requirements.txt --output-file requirements-test.txt pyproject.toml
	$(COMPILE) --allow-unsafe --output-file requirements-interop.txt tests/interop/requirements.in
	$(COMPILE) --output-file requirements-s3.txt tests/homeserver/media/requirements.in
	$(COMPILE) --output-file requirements-calls.txt tests/calls/requirements.in
	$(NPM) --omit-lockfile-registry-resolved --package-lock-only update
	@$(MAKE) images-lock

clean:
	rm -rf $(VENV) $(VENV)-lock $(VENV)-synapse $(VENV)-s3 $(VENV)-calls tests/clients/node_modules docker/.cache docker/out
	rm -rf .mypy_cache .ruff_cache .pytest_cache
