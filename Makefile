# Everything a newcomer or the CI needs. `make` alone says what there is.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# A stamp, so that the environment follows uv.lock and is otherwise left alone.
STAMP  := .made-from-lock
READY  := $(VENV)/$(STAMP)
LOCKED := pyproject.toml uv.lock skygrid/environment/uv.txt

# Makes an environment that has uv, installed by pip with its hash. $(1): its folder.
define uv
	test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes \
		--requirement skygrid/environment/uv.txt
endef

# Makes the environment of the target's folder with the packages and hashes of uv.lock; uv leaves
# pip there. $(1): options of `uv sync`.
define sync
	$(call uv,$(@D))
	UV_PROJECT_ENVIRONMENT=$(@D) UV_PYTHON_DOWNLOADS=never $(@D)/bin/uv sync --quiet --locked $(1)
	touch $@
endef

# The supported scikit-learn releases, but for the newest, which `make test` runs on. A landing runs
# the oldest: `make test-sklearn SKLEARNS=1.5`.
SKLEARNS := 1.5 1.6 1.7 1.8

# The supported Python releases that are at hand, on the path or from pyenv.
PYTHONS = $(foreach minor,3.11 3.12 3.13,$(firstword \
	$(shell python$(minor) -c 'print("python$(minor)")' 2>/dev/null) \
	$(lastword $(sort $(wildcard $(HOME)/.pyenv/versions/$(minor).*/bin/python$(minor))))))

.DEFAULT_GOAL := help
.PHONY: help lock run cloud test test-chaos test-cloud test-clusters test-report test-aws test-digits test-faults sshd check format bench bench-peers \
	bench-ssh test-all test-libraries test-sklearn test-sklearn-suite clean

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): $(LOCKED)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "skygrid needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(call sync,--extra dev --group sklearn-newest)

lock: ## Update uv.lock from pyproject.toml; ARGS=--upgrade takes the newest releases
	$(call uv,$(VENV))
	$(BIN)/uv lock $(ARGS)
	$(BIN)/python tools/check_uv.py --write

# The product alone, without the tools of the tests, and with uv's progress on the terminal.
.venv-run/$(STAMP): $(LOCKED)
	$(call uv,$(@D))
	UV_PROJECT_ENVIRONMENT=$(@D) UV_PYTHON_DOWNLOADS=never $(@D)/bin/uv sync --locked
	touch $@

run: .venv-run/$(STAMP) ## Install skygrid alone and run the digits search of the guide on all cores
	.venv-run/bin/skygrid run guides/digits/search.py

cloud: $(READY) sshd ## Start a cloud on this machine to try EC2 without an account (root)
	@$(BIN)/python -m tests.cloud $(if $(PORT),--port $(PORT)) $(if $(BOOT),--boot $(BOOT))

# Three on two processors: a third of the time tests wait, for a process, a lock, a clock of the cloud.
test: $(READY) sshd ## Run every test but the slowest, three at a time
	$(BIN)/python -m pytest -n 3 --dist worksteal

test-faults: $(READY) sshd ## Kill, cut, freeze and corrupt what whole searches are made of
	$(BIN)/python -m pytest -n 3 --dist worksteal -m faults

# N schedules on this machine and SSH over SSH, with seeds from SEED on: a failed one prints the line
# that plays it again. Each takes about five seconds; the default is for the night.
SEED ?= 1
SSH  ?= $(if $(N),0,60)
test-chaos: $(READY) sshd ## Play random schedules of faults on whole runs; SEED=17 N=1 plays one again
	SKYGRID_TEST_CHAOS_SEED=$(SEED) SKYGRID_TEST_CHAOS_LOCAL=$(or $(N),200) SKYGRID_TEST_CHAOS_SSH=$(SSH) \
		$(BIN)/python -m pytest -n 3 --dist worksteal -m chaos tests/chaos

test-cloud: $(READY) sshd ## Run the tests of EC2 nodes on a cloud that boots
	$(BIN)/python -m pytest -n 3 --dist worksteal -m cloud

# Clusters that the tests install and start, in an environment with the libraries of Ray and Dask.
test-clusters: .venv-clusters/$(STAMP) ## Run searches and the contract of nodes on real clusters: Slurm (root), Ray, Dask
	.venv-clusters/bin/python -m pytest -n 2 --dist loadfile -m clusters

.venv-clusters/$(STAMP): $(LOCKED)
	$(call sync,--extra dev --extra ray --extra dask --group sklearn-newest)

# Reports of real runs in Debian's Chromium, which the tests install; pictures are in tests/report/screenshots.
test-report: .venv-report/$(STAMP) ## Open reports in a headless browser: plots, brushing, filters, hostile texts
	.venv-report/bin/python -m pytest -m report tests/report

.venv-report/$(STAMP): $(LOCKED)
	$(call sync,--extra dev --group sklearn-newest --group report)

test-aws: $(READY) ## Run the guide's search on AWS itself, if SKYGRID_TEST_AWS=1 (costs some cents)
	$(BIN)/python -m pytest -m aws -rs tests/acceptance

test-digits: $(READY) sshd ## Run the guide's search on three fresh hosts and compare with this machine
	$(BIN)/python -m pytest -m digits tests/acceptance

sshd: $(READY) ## Install OpenSSH and the shells that the tests use, where root and apt-get can
	@$(BIN)/python -m tests.programs

check: $(READY) ## Lint, format, types, room boundaries, guides/reference.md against --help
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/check_reference.py
	$(BIN)/python tools/check_uv.py
	$(BIN)/python tools/json_schema.py

format: $(READY) ## Format the code and mend what ruff can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## Race scikit-learn's own loop and print the table
	$(BIN)/python -m tests.benchmarks

bench-peers: .venv-peers/$(STAMP) ## Race Ray, Dask and dask-ml as well, in an environment of their own
	.venv-peers/bin/python -m tests.benchmarks.peers $(ARGS)

# All in one environment, so that NumPy and scikit-learn are the same builds for everybody.
.venv-peers/$(STAMP): $(LOCKED)
	$(call sync,--group peers)

bench-ssh: $(READY) sshd ## Measure runs on three SSH nodes, 50 ms away
	$(BIN)/python -m tests.benchmarks.ssh

test-sklearn: $(SKLEARNS:%=.test-sklearn-%) ## Repeat the comparison with scikit-learn on every supported release before the newest

# One environment for each release, made once; `make clean` removes them.
.venv-sklearn-%/$(STAMP): $(LOCKED)
	$(call sync,--group tests --group sklearn-$(subst .,-,$*))

.PHONY: $(SKLEARNS:%=.test-sklearn-%)
.PRECIOUS: .venv-sklearn-%/$(STAMP)
$(SKLEARNS:%=.test-sklearn-%): .test-sklearn-%: .venv-sklearn-%/$(STAMP)
	@echo "scikit-learn $*: $$(.venv-sklearn-$*/bin/python -c 'import sklearn; print(sklearn.__version__)')"
	.venv-sklearn-$*/bin/python -m pytest -n 3 --dist worksteal -m sklearn_versions tests/acceptance \
		tests/integration/test_shared_samples.py

# One environment for each Python; the newest scikit-learn that pip finds for it.
.PHONY: test-pythons
test-pythons: sshd ## Repeat the comparison with scikit-learn and the runs on every supported Python at hand
	@test -n "$(strip $(PYTHONS))" || { echo "no Python from 3.11 to 3.13 is at hand"; exit 1; }
	for python in $(PYTHONS); do \
		echo "$$($$python --version)" && folder=.venv-python-$$(basename $$python) \
		&& $(MAKE) --no-print-directory VENV=$$folder PYTHON=$$python $$folder/$(STAMP) \
		&& $$folder/bin/python -m pytest -n 3 --dist worksteal tests/acceptance || exit 1; \
	done

# SKLEARN=1.7 takes that release instead of the newest; ARGS="--start-method spawn --nodes 2" other nodes.
SUITE_VENV := $(if $(SKLEARN),.venv-sklearn-$(SKLEARN),$(VENV))
test-sklearn-suite: $(SUITE_VENV)/$(STAMP) ## Run scikit-learn's own tests of searches with every fit on nodes
	$(SUITE_VENV)/bin/python -m pytest -c tests/sklearn_suite/pytest.ini $(ARGS)

test-libraries: .venv-libraries/$(STAMP) ## Compare searches over other libraries, in an environment of their own
	.venv-libraries/bin/python -m pytest -m libraries tests/acceptance/test_libraries.py

.venv-libraries/$(STAMP): $(LOCKED)
	$(call sync,--group tests --group libraries)

test-all: check test test-faults test-chaos test-cloud test-clusters test-report test-digits test-sklearn test-sklearn-suite test-libraries test-pythons ## Run every check and every test that costs no money

clean: ## Remove the environments, caches and build products (runs are kept)
	rm -rf $(VENV) .venv-run .venv-peers .venv-libraries .venv-clusters .venv-report .venv-sklearn-* .venv-python-* build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find skygrid tests tools guides -name __pycache__ -type d -prune -exec rm -rf {} +
