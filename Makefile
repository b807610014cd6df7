# make serve   sets up .venv and serves the shipped model on http://localhost:8000 (PORT=9000: there)
# make test    sets up .venv and runs the tests
#
# Wants make and Python 3.11, 3.12 or 3.13; PYTHON=/path/to/python chooses which.

VENV := .venv
BIN := $(VENV)/bin
# What exists of it: the lint covers all the Python that there is.
SOURCES := $(wildcard app digits training tests benchmarks deploy)
PIP_INSTALL = PYTHONUNBUFFERED=1 $(BIN)/python -m pip install --progress-bar off \
	--disable-pip-version-check --require-hashes
# How far pip is, of what it writes: a line for every ten packages. The status is pip's, which the
# pipe would lose. Two minutes of silence look like a failure.
INSTALL = { began=$$(date +%s); all=$$(grep -c '^[a-z0-9]' $<); \
	status=$$({ { $(PIP_INSTALL) -r $<; echo $$? >&3; } | { found=0; while read -r line; do \
		case "$$line" in \
		Collecting*) found=$$((found + 1)); \
			test $$((found % 10)) != 0 || echo "  $$found of $$all packages fetched" ;; \
		"Installing collected"*) echo "  all fetched; unpacking them" ;; \
		esac; done; } >&4; } 3>&1); \
	test "$$status" = 0 && echo "  done in $$(($$(date +%s) - began)) seconds"; } 4>&1
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--fork-strategy fewest --no-emit-index-url --no-emit-find-links --no-header --no-strip-extras \
	--no-annotate $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.PHONY: sbom help serve test check format fonts train model bench lock fuzz clean

help:
	@echo 'On two cores, the environment (once, 1 to 2 minutes) and downloads apart:'
	@echo 'serve   serve the shipped model, ready in 10 seconds; PORT=8000'
	@echo 'test    run the tests, 5 to 10 minutes; ARGS="-k normalize -x": some; JOBS=0 in one process'
	@echo 'check   lint, format, types, the direction of imports, Dockerfile; a minute'
	@echo 'format  let ruff rewrite what it can; a second'
	@echo 'fonts   fetch the handwriting fonts to train with, by npm, into .fonts; a minute'
	@echo 'train   train, evaluate and export the next version, 40 minutes; ARGS="--seed 1 --data mnist.npz"'
	@echo 'model   make the version that ships, from version 6 and all corpora, an hour at most; DIGITS_DATA=mnist.npz'
	@echo 'bench   measure beside peers and floors, 25 minutes; ARGS="--quick": 5'
	@echo 'fuzz    fuzz decode and normalize for SECONDS=1800: half an hour'
	@echo 'lock    resolve requirements/*.in anew; UPGRADE=1 takes newer versions; a minute'
	@echo 'sbom    list what the image and the wheel have in them, as CycloneDX, in sbom/'
	@echo 'clean   remove .venv and caches'

ifdef PORT
serve: export DIGITS_PORT := $(PORT)
endif
serve: $(VENV)/serve.stamp
	@exec $(BIN)/python -m app

JOBS ?= 2
# A file's tests stay together: what they have in common, such as a server, is then started once.
# tests/conftest.py puts the longest files first.
test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/test.stamp
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports --no-logo
	$(BIN)/hadolint Dockerfile

format: $(VENV)/test.stamp
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

fonts: $(VENV)/train.stamp
	$(BIN)/python -m training.corpora.fonts fetch --fonts .fonts

train: $(VENV)/train.stamp
	$(BIN)/python -m training.train $(ARGS)

# Stages that are done are not done again: a stopped recipe goes on where it was.
model: export MALLOC_ARENA_MAX := 1
model: export MALLOC_MMAP_MAX_ := 0
model: export MALLOC_TRIM_THRESHOLD_ := 8000000000
model: $(VENV)/train.stamp
	$(BIN)/python -m training.recipe $(ARGS)

bench: $(VENV)/test.stamp
	$(BIN)/python -m benchmarks $(ARGS)

SECONDS ?= 1800
# atheris beside the environment and not in it: nothing else needs it, and not every Python has it.
fuzz: $(VENV)/test.stamp .fuzz/atheris
	PYTHONPATH=.fuzz/atheris $(BIN)/python -m tests.fuzz --seconds $(SECONDS)

.fuzz/atheris: $(BIN)/pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--only-binary :all: --target $@ atheris==3.0.0

# Widest first: the others are then the same versions, fewer of them, and one version for every
# Python. Pins that still satisfy the .in files stay, unless UPGRADE=1. Extras stay written: pip that
# checks hashes takes `coverage==1` for no pin of `coverage[toml]` once there is a newer one.
lock: $(VENV)/test.stamp
	$(COMPILE) -o requirements/test.txt requirements/test.in
	$(COMPILE) -c requirements/test.txt -o requirements/train.txt requirements/train.in
	$(COMPILE) -c requirements/test.txt -o requirements/serve.txt requirements/serve.in
	$(COMPILE) -c requirements/test.txt -o requirements/grpc.txt requirements/grpc.in
	$(COMPILE) -o requirements/kserve.txt requirements/kserve.in

# KServe's client, for its test: it wants an older protobuf than TensorFlow, and so its own environment.
.kserve/stamp: requirements/kserve.txt $(VENV)/test.stamp
	@echo 'Installing the client of KServe into .kserve (once)'
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .kserve
	@$(BIN)/uv pip install --quiet --require-hashes --python .kserve/bin/python -r $<
	@touch $@

# Equal locks give equal documents; tests/deploy/test_sbom.py holds it.
sbom: $(VENV)/test.stamp
	$(BIN)/python deploy/sbom.py --out sbom

clean:
	rm -rf $(VENV) .kserve .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov

# One environment, three widths: each stamp says that at least its requirements are installed.
$(VENV)/serve.stamp: requirements/serve.txt $(BIN)/pip
	@echo 'Installing what serving needs into $(VENV): once, a minute or two'
	@$(INSTALL)
	@touch $@

$(VENV)/train.stamp: requirements/train.txt $(BIN)/pip
	@echo 'Installing what training needs into $(VENV): once, a minute or two'
	@$(INSTALL)
	@touch $(VENV)/serve.stamp $@

$(VENV)/test.stamp: requirements/test.txt $(BIN)/pip
	@echo 'Installing what the tests need into $(VENV): once, a minute or two'
	@$(INSTALL)
	@touch $(VENV)/serve.stamp $(VENV)/train.stamp $@

# The first of these that runs and is a version TensorFlow has wheels for; `python3` may be too new.
$(BIN)/pip:
	@for python in $(or $(PYTHON),python3 python3.12 python3.13 python3.11); do \
		if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then \
			echo "Making $(VENV) with $$($$python --version)"; \
			$$python -m venv --clear $(VENV) && exit 0; \
			rm -rf $(VENV); \
			echo 'On Debian and Ubuntu: apt install python3-venv' >&2; \
			exit 1; \
		fi; \
	done; \
	echo 'Digits needs Python 3.11, 3.12 or 3.13: make PYTHON=/path/to/python3.12 serve' >&2; \
	exit 1
