# Run `make` to see what there is.
.DEFAULT_GOAL := help
.PHONY: help build demo test check bench docs focus fuzz kill nightly clean setup
bin := .venv/bin

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 18

build:  ## make the programs in .venv/bin
	@scripts/setup.sh build
	@echo 'The programs are in .venv/bin. To have them on your PATH:'
	@echo '  export PATH="$(CURDIR)/.venv/bin:$$PATH"'

demo:  ## watch an MPI job burst: real Slurm, emulated EC2, on this machine (installs what is missing)
	@scripts/setup.sh demo
	@$(bin)/asbx lab demo $(DEMO)

test: setup check  ## run all tests, those on a real Slurm too (installs what is missing)
	$(bin)/pytest -n 2 -m 'not slurm'
	# More than there are cores: they mostly wait, for boots and for time-outs of Slurm.
	$(bin)/pytest -n 4 --dist loadfile --no-loadscope-reorder -m slurm

check: setup  ## format, lint, types, import rules
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy
	$(bin)/lint-imports

bench: setup  ## measure hook, resume, gangs, API calls, scripts and costs; writes JSON and tables
	$(bin)/python benchmarks/burst.py $(BENCH)
	$(bin)/python -m benchmarks.gang
	$(bin)/python -m benchmarks.analyze
	$(bin)/python -m benchmarks.reconcile --check
	$(bin)/python -m benchmarks.cost

docs: setup  ## build the documentation into site/
	$(bin)/python scripts/docs_reference.py --check
	$(bin)/mkdocs build --strict

focus: setup  ## run the published FOCUS validator over an export, in an environment of its own (.focus, 400 MB)
	$(bin)/python -m tests.focus.run

fuzz: setup  ## feed 100,000 spoiled files, plans, listings and messages to every door; FUZZ="COUNT SEED" for others
	$(bin)/python -m tests.fuzz.run $(FUZZ)

kill: setup  ## kill daemon and hooks 200 times in bursts, simulated and on a real Slurm; prints what was lost (nothing)
	$(bin)/asbx simulate examples/scenarios/kill.toml
	$(bin)/python -m tests.e2e.kill_lab $(KILL)

nightly: test bench docs fuzz focus  ## everything, a long search by the property tests, and the demo with accounting
	HYPOTHESIS_PROFILE=nightly $(bin)/pytest -n 2 tests/property --hypothesis-show-statistics
	ASBX_BUDGET_LAUNCHES=2000 $(bin)/pytest -q tests/contract/test_budget_races.py
	$(bin)/asbx lab demo --accounting
	$(bin)/asbx simulate examples/scenarios/week.toml
	for seed in 1 2 3 4 5 6 7 8; do $(bin)/asbx simulate examples/scenarios/kill.toml --seed $$seed || exit 1; done

clean:  ## remove what was built here: .venv, .uv, caches, site
	rm -rf .venv .uv .focus build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

setup:  ## install what tests and development need (packages, .uv, .venv)
	@scripts/setup.sh test
