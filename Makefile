# Everything here sets itself up; on a fresh machine `make demo` and `make test` are the first thing to type.
#
#   make demo    a launcher and eight jobs, for real, in under a minute
#   make test    the whole test suite
#   make check   lint, types, import rules, then the whole test suite
#   make lives   simulated lives of jobs and stories of their delivery, LIVES of each: the suite has hundreds and 2,000
#   make fuzz    job files made of bytes that a fuzzer finds, for FUZZ_SECONDS
#   make bench   the benchmarks: tables with ratios to a floor measured in the same run
#   make clean   removes what these have made

# The Python that .venv is made from.
PYTHON ?= python3

# What the tests need from Debian: root gets them installed. The tests that need these need root too, so that anybody
# else goes without both.
DEBIAN_PACKAGES := $(if $(filter 0,$(shell id -u)),etcd-client etcd-server iproute2 nftables openssh-client openssh-server)

# How many tests run at once: more than there are processors, since a test waits for half of its time.
WORKERS ?= 4

# How many lives are simulated.
LIVES ?= 20000

BENCHMARKS := cli_latency submit_throughput footprint notify_latency storm fanout

# What the benchmarks compare with, on top of that; without it they name what they did not measure.
DEBIAN_PEERS := $(if $(filter 0,$(shell id -u)),pdsh clustershell pssh)

FUZZ_SECONDS ?= 60

BIN := .venv/bin
TYPED := $(wildcard src tests benchmarks examples)

export PYTHON
# With it, each process that runs tests would compile all of them anew.
unexport PYTHONDONTWRITEBYTECODE
.SILENT:
.PHONY: demo test check lives fuzz bench clean setup setup-dev setup-bench lint

demo: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/demo

test: setup-dev
	$(BIN)/coverage run -m pytest -q tests/core
	$(BIN)/coverage report
	$(BIN)/pytest --ignore=tests/core -n $(WORKERS)

check: lint
	$(MAKE) --no-print-directory test

lives: setup-dev
	SIMULATION_SEEDS=$(LIVES) $(BIN)/pytest tests/simulation --timeout 0 -k every_promise

lint: setup-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(TYPED)
	$(BIN)/lint-imports --no-logo

# Where there is no atheris to be had, as on processors other than x86-64, this says so and is well.
fuzz: setup-dev
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[fuzz]' || echo "fuzz: going on without atheris" >&2
	if $(BIN)/python -c 'import atheris' 2>/dev/null; \
	then PYTHONPATH=. $(BIN)/python tests/fuzz/job_file.py -max_len=4096 -max_total_time=$(FUZZ_SECONDS); \
	else echo "fuzz: skipped, there is no atheris for this Python"; fi

bench: setup-bench
	set -e; for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py; done

clean:
	rm -rf .venv dist .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests benchmarks examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# Compiled each time and not left to the first import: that would not write it down under PYTHONDONTWRITEBYTECODE, and
# the command would compile itself at every start.
setup:
	scripts/setup
	$(BIN)/python -m compileall -q src

setup-dev:
	scripts/debian-packages $(DEBIAN_PACKAGES)
	scripts/setup dev
	$(BIN)/python -m compileall -q src

setup-bench: setup-dev
	scripts/debian-packages $(DEBIAN_PEERS) || true
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[bench]' || echo "setup: going on without these" >&2
