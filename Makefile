# make report   the embedded study, from nothing to results/report.html
# make test     every check: lint, types, unit tests, real workflow runs, the report in a browser
PYTHON ?= python3
CORES ?= 2
BIN := .venv/bin
# A terminal's or CI's own settings must not change what runs here.
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export HF_HUB_DISABLE_TELEMETRY = 1
export DO_NOT_TRACK = 1

.PHONY: report test test-quick simulations lint types bench slurm slurm-embedded browser ssh stages constraints clean

report: .venv/.installed
	$(BIN)/snakemake --cores $(CORES)
	@echo "The report is results/report.html"

test: .venv/.installed-dev browser ssh slurm
	@echo "== lint"
	@$(MAKE) --no-print-directory lint
	@echo "== types"
	@$(MAKE) --no-print-directory types
	@echo "== tests: units, real workflow runs, the report in a browser"
	$(BIN)/pytest -n $(CORES) --dist worksteal --durations=20

test-quick: .venv/.installed-dev
	$(BIN)/pytest -n $(CORES) -m "not slow"

# The rates of nulls and intervals that the docs give, on thousands of draws, and the longest of the
# benchmarks at tiny sizes: when a measure or a benchmark changes.
simulations: .venv/.installed-dev
	STRATASCOPE_SIMULATIONS=1 $(BIN)/pytest -n $(CORES) -m simulation

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

types: .venv/.installed-dev
	$(BIN)/mypy

bench: .venv/.installed-dev
	$(BIN)/python benchmarks/run.py

# All tests by Slurm, also the long one: the embedded study once by Slurm and once without. As root.
slurm-embedded: .venv/.installed-dev slurm
	STRATASCOPE_SLURM_EMBEDDED=1 $(BIN)/pytest tests/slurm

# Record the hash of each stage's code: after a change that leaves a stage's bytes as they were.
stages: .venv/.installed-dev
	$(BIN)/python tests/study/stage_hashes.py

# Torch goes first and with pip: other tools, and a later resolve, may take a build with CUDA instead.
.venv/.torch: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	touch $@

.venv/.installed: .venv/.torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/.installed-dev: .venv/.torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch .venv/.installed $@

# The browser tests need a Chromium. Debian's is installed where we may; elsewhere its absence is said.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "== installing Debian's chromium for the browser tests"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
	else echo "No chromium found: the browser tests will be skipped. Install one to run them."; fi

# Push and pull over SSH are tested against a real server on this machine.
ssh:
	@test -x /usr/sbin/sshd || command -v sshd >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "== installing Debian's openssh-server for the tests of remotes"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq openssh-server >/dev/null; \
	else echo "No sshd found: the tests over SSH will be skipped. Install one to run them."; fi

# The workflow is tested by a Slurm of one node, which the tests start and stop.
slurm:
	@sh tests/slurm/install.sh

constraints: .venv/.installed-dev
	{ echo "# The exact versions that \`make\` installs. Renew: make constraints"; \
	  $(BIN)/pip freeze --exclude-editable | sed -E 's/^torch==.*/torch==2.13.0/;s/^torch @.*/torch==2.13.0/' | sort -f; } > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf .venv .snakemake logs
