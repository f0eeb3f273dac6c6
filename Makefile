# `make run` and `make test` do all set-up on a fresh machine; run twice, the set-up is skipped.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# A file's tests share fixtures (a server, small models), so a process takes whole files. One thread
# each: with as many test processes as cores, and servers and workers beside them, more threads wait
# for one another (a training run took twice as long). Files go out in the order of their names, so
# the browser's long ones come first and unit's short ones fill the end: no processor waits for
# another's last file. Bytecode is kept, whatever the environment says: a server or a worker that
# compiles what it imports takes a second more.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n logical \
  --maxprocesses 4 --dist loadfile --no-loadscope-reorder
export HOST ?= 127.0.0.1
export PORT ?= 7860

# What a graphics card does here, as one table (under 8 minutes); without a card it says so.
gpu-check: gpu-card $(VENV)/.installed
	$(BIN)/python benchmarks/gpu_check.py

gpu-card:
	@$(PYTHON) benchmarks/gpu_check.py --only-card

.PHONY: gpu-check gpu-card run test test-all lint audit browser nginx slurm docs clean

run: $(VENV)/.installed
	$(BIN)/python app.py

test: $(VENV)/.installed-dev browser lint
	$(PYTEST) -m "not slow" --cov --cov-report=
	@echo "The ten modules that the tests cover least, and the share of all lines covered:"
	@$(BIN)/coverage report --skip-covered --skip-empty --sort=cover | head -12
	@$(BIN)/coverage report --format=total

test-all: $(VENV)/.installed-dev browser nginx slurm lint
	$(PYTEST) $(PYTEST_OPTIONS)

lint: $(VENV)/.installed-dev node_modules/.installed
	$(BIN)/node node_modules/.bin/biome check pages biome.json package.json --error-on-warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy --num-workers 2

# Biome, which checks and formats JavaScript and CSS; node and npm come with requirements-dev.txt.
node_modules/.installed: package-lock.json | $(VENV)/.installed-dev
	$(BIN)/npm ci --silent --no-audit --no-fund
	touch $@

browser: $(VENV)/.installed-dev
	sh tests/browser/install_chromium.sh $(BIN)/python

# For the test of a reverse proxy: Debian's nginx, unpacked and not installed, so none is started.
nginx:
	sh tests/integration/install_nginx.sh build/nginx

# For the tests of Slurm: Debian's cluster, unpacked and not installed, so none is started.
slurm:
	sh tests/integration/install_slurm.sh build/slurm

# The installed packages beside the known weaknesses. It asks pypi.org, so CI does not need it.
audit: $(VENV)/.installed-dev
	$(BIN)/python tests/audit_packages.py

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: Python 3.11 or newer is needed; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV) || { \
	  rm -rf $(VENV); \
	  [ "$$(id -u)" = 0 ] || { echo "error: run 'sudo apt-get install python3-venv' first"; exit 1; }; \
	  apt-get update -qq && apt-get install -y -qq python3-venv && $(PYTHON) -m venv $(VENV); }

$(VENV)/.installed: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) node_modules build .pytest_cache .ruff_cache .hypothesis
