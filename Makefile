# `make demo` shows the main job, `make test` is what CI runs, `make check` goes before each commit.
.PHONY: help setup environment demo test long unit check format lock bench docs clean

bin := .venv/bin

help:
	@echo 'make demo    build a Debian guest, seal a template of it, boot two clones, compare them'
	@echo 'make test    everything but make long: checks, unit, contract, crash and system tests'
	@echo 'make long    more guests, more kills, more canaries: what takes many minutes'
	@echo 'make unit    the tests that need no guest'
	@echo 'make check   format, lint, types, layering, generated pages'
	@echo 'make bench   measurements, side by side'
	@echo 'make setup   install what the others need (they call it)'

setup:
	@scripts/setup.sh

environment:
	@scripts/environment.sh

demo: setup
	@$(bin)/python scripts/demo.py

test: setup check
	$(bin)/python -m pytest -m "not long" -n auto --dist loadfile --no-loadscope-reorder

long: setup
	$(bin)/python -m pytest -m long -n auto --dist loadfile --no-loadscope-reorder

unit: setup
	$(bin)/python -m pytest tests/unit

check:
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/mypy
	$(bin)/lint-imports
	$(bin)/python scripts/pages.py --check

format:
	$(bin)/ruff format .
	$(bin)/ruff check --fix .

docs:
	$(bin)/python scripts/pages.py

lock:
	$(bin)/uv pip compile --python /usr/bin/python3 --generate-hashes --no-emit-index-url --group dev -q pyproject.toml -o requirements.lock --upgrade

bench: setup
	$(bin)/python -m pytest tests/bench -o python_files='bench_*.py' -s -q -p no:cacheprovider

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache
