# The commands of this project. `make demo` and `make test` need Python 3.11 or newer and nothing else: each makes its own
# virtual environment from the hashed requirements.lock. Everything they write is ignored by git.

# The first Python that is new enough and can make virtual environments; 3.11 first, the lock is tested with it.
ifndef PYTHON
PYTHON := $(shell for p in python3.11 python3.12 python3.13 python3; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$p" && break; done)
endif

PIP = -m pip --disable-pip-version-check --quiet
SOURCES = mmfeat indexes pipelines cli
STYLED = $(SOURCES) tests examples

.DEFAULT_GOAL := help
.PHONY: help demo test check-all lint types bench soak reproductions lock clean wheel
.DELETE_ON_ERROR:

help:
	@echo "make demo       the main job on real pictures: learn, index, search, pages to look at (about 1.5 GB are installed once)"
	@echo "make test       style, types, doctests, examples and tests, on the wheel; MMFEAT_DATA=folder adds the tests on real sets"
	@echo "make check-all  the same with the long tests"
	@echo "make lint       style only        make types  types only"
	@echo "make bench      speed beside the rivals, into docs/BENCHMARKS.md and docs/benchmarks.json"
	@echo "make reproductions   published numbers measured again, into docs/REPRODUCTIONS.md (about an hour and a half; SEEDS=3)"
	@echo "make soak       200 jobs killed at random instants, 600 bits flipped, 2,000 damaged pictures: nothing may be lost (about 20 minutes)"
	@echo "make lock       requirements.lock anew, from pyproject.toml"
	@echo "make clean      remove the environments and all that was built"

# $(call environment,FOLDER): a fresh environment with everything in requirements.lock, wheels only (nothing is compiled).
define environment
	@test -n "$(PYTHON)" || { echo "mmfeat needs Python 3.11 or newer with its venv module; none was found on the PATH." \
		"Install it (Debian, Ubuntu: apt install python3.11 python3.11-venv), or say which: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "mmfeat needs Python 3.11 or newer;" \
		"$(PYTHON) is $$("$(PYTHON)" -V 2>&1). Say which to use: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "Making $(1) from requirements.lock with $$("$(PYTHON)" -V): about 1.5 GB, once, one to three minutes."
	@"$(PYTHON)" -m venv --clear $(1)
	@$(1)/bin/python $(PIP) install --require-hashes --only-binary :all: -r requirements.lock
endef

.venv-demo/ready: requirements.lock pyproject.toml
	$(call environment,.venv-demo)
	@.venv-demo/bin/python $(PIP) install --no-index --no-deps --no-build-isolation --editable .
	@rm -rf build mmfeat.egg-info
	@touch $@

demo: .venv-demo/ready
	@.venv-demo/bin/mmfeat demo -o demo-output

.venv-test/ready: requirements.lock
	$(call environment,.venv-test)
	@touch $@

# What is tested is the wheel, as a user gets it. It is built from nothing each time: a file that is gone must be gone from it too.
wheel: .venv-test/ready
	@rm -rf build .venv-test/wheel
	@.venv-test/bin/python $(PIP) wheel --no-index --no-deps --no-build-isolation --wheel-dir .venv-test/wheel .
	@rm -rf build mmfeat.egg-info
	@.venv-test/bin/python $(PIP) install --no-index --no-deps --force-reinstall .venv-test/wheel/mmfeat-*.whl

lint: .venv-test/ready
	@.venv-test/bin/ruff check --quiet $(STYLED)
	@.venv-test/bin/ruff format --quiet --check $(STYLED) || { .venv-test/bin/ruff format --diff --quiet $(STYLED); exit 1; }
	@echo "Style: no complaints."

# Types are checked where mypy sees every file under its real name: in the installed wheel. tests/test_types.py plants errors to prove it.
types: wheel
	@cd .venv-test && bin/mypy --config-file ../pyproject.toml --cache-dir mypy-cache -p mmfeat

# The tests run from their own folder, so that `mmfeat` is the installed wheel (tests/test_installed.py makes sure), never the checkout.
# WORKERS=n shares them out among n processes; each needs up to 5 GB.
WORKERS = 2
test: lint types
	@cd tests && MMFEAT_INSTALLED=1 MYPY_CACHE_DIR=../.venv-test/mypy-cache \
		../.venv-test/bin/pytest --rootdir .. -c ../pyproject.toml --numprocesses $(WORKERS) --dist worksteal .

check-all: export MMFEAT_CHECK_ALL = 1
check-all: test

# The rivals live in an environment of their own; one that cannot be had is a row in the table, not an error.
.venv-bench/ready: requirements.lock pyproject.toml tests/benchmarks/rivals.txt
	$(call environment,.venv-bench)
	@.venv-bench/bin/python $(PIP) install --no-index --no-deps --no-build-isolation --editable .
	@rm -rf build mmfeat.egg-info
	@grep -o '^[A-Za-z0-9._-]*==[^ ;]*' requirements.lock > .venv-bench/versions.txt
	@grep -v '^#' tests/benchmarks/rivals.txt | while read -r rival; do \
		.venv-bench/bin/python $(PIP) install --only-binary :all: --constraint .venv-bench/versions.txt "$$rival" \
		|| echo "No $$rival here: its rows will say so."; done
	@touch $@

bench: .venv-bench/ready
	@.venv-bench/bin/python tests/benchmarks/run.py

# MMFEAT_DATA=folder names the data sets; ONLY="pca-mnist ..." runs some experiments alone, SEEDS=n each of them n times.
SEEDS = 3
ONLY = $(shell .venv-demo/bin/mmfeat reproduce | cut -d' ' -f1)
reproductions: .venv-demo/ready
	@for name in $(ONLY); do echo "== $$name"; .venv-demo/bin/mmfeat reproduce $$name --seeds $(SEEDS) \
		--json docs/reproductions/$$name.json --page docs/REPRODUCTIONS.md || exit $$?; done
	@.venv-demo/bin/python tests/which_learner.py

# Each run kills at other instants; it prints the seed.
soak: .venv-test/ready
	@.venv-test/bin/python tests/soak.py

# Made by uv, from the package index alone, for every platform and Python that pyproject.toml allows.
lock:
	@"$(PYTHON)" -m venv .venv-lock && .venv-lock/bin/python $(PIP) install uv
	@.venv-lock/bin/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --fork-strategy fewest \
		--generate-hashes --upgrade --no-header --no-annotate --no-config \
		--output-file requirements.lock --quiet
	@echo "requirements.lock is new; look at it with git diff, then make test."

clean:
	@rm -rf .venv-demo .venv-test .venv-bench .venv-lock build dist *.egg-info demo-output
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find $(STYLED) -name __pycache__ -type d -prune -exec rm -rf {} +
