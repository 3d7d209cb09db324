# Everything is done in .venv, which `make setup` makes; every target sets up what it needs.

VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=

.PHONY: help setup demo test lint format check-types check-imports pytest \
	soak soak-kill soak-power soak-random soak-fuzz bench docs lock clean

help:  ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup:  ## Make .venv from the lock; as root on Debian, install what tests and demo need
	@scripts/setup

demo: setup  ## Serve a generated nginx image and walk from its name to its files, a few seconds
	@$(BIN)/python -m demo

test: lint check-types check-imports pytest  ## All that CI runs

lint: setup  ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: setup  ## Let ruff write the format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

check-types: setup  ## mypy --strict
	$(BIN)/mypy

check-imports: setup  ## Imports run downwards only
	$(BIN)/lint-imports

pytest: setup  ## The tests; PYTEST_ARGS="-k pull -x" narrows them
	$(BIN)/pytest -n 2 --dist loadgroup -m "not soak" $(PYTEST_ARGS)

soak: setup  ## All long campaigns, hours; or one of the four parts
	$(BIN)/pytest -n 2 --dist loadgroup -m soak $(PYTEST_ARGS)

# Every campaign is in one part: the last has what no other has.
KILLED := killed_everywhere
POWER_CUT := power_cut
RANDOM := random_verbs or again_and_again or for_long or many_containers
soak-kill: SOAK = $(KILLED)  ## SIGKILL at every call of every verb, images' and containers', both drivers
soak-power: SOAK = $(POWER_CUT)  ## The power cut at every call, both drivers
soak-random: SOAK = $(RANDOM)  ## Twenty processes with random verbs, races, hundreds of containers
soak-fuzz: SOAK = not ($(KILLED) or $(POWER_CUT) or $(RANDOM))  ## Full disks, cut transfers, odd bytes and flags
soak-kill soak-power soak-random soak-fuzz: setup
	$(BIN)/pytest -n 2 --dist loadgroup -m soak -k "$(SOAK)" $(PYTEST_ARGS)

bench: setup  ## Measure against the peers that are installed
	$(BIN)/python -m bench

docs: setup  ## Write docs/cli.md anew from the command table
	$(BIN)/python -m onggi help --markdown > docs/cli.md

lock: setup  ## Write requirements/dev.txt anew (needs uv)
	uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 \
		--extra hub --group dev --output-file requirements/dev.txt pyproject.toml

clean:  ## Remove what the targets made, .venv too
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
