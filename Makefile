# `make demo` and `make test` are all there is to know; both install what they need into .venv.
# `make wheel-test` tests the package as people get it: built, and installed outside of the checkout.
PYTHON ?= python3
BIN := .venv/bin
# Else each of the many processes of the tests compiles all of torch again, which takes ten seconds.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test wheel-test

demo: .venv/installed
	$(BIN)/smallset demo

test: .venv/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python scripts/house.py
	# Two processes of one thread each: with more, they fight over two cores. In order of their names
	# the long files come early, so that both processes end at about the same time. The types are
	# checked meanwhile, where the tests wait for something.
	nice $(BIN)/pyright & types=$$!; \
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder && \
	wait $$types

wheel-test: .venv/installed-test
	# Side by side: each waits for pip most of the time.
	$(BIN)/python scripts/wheel.py & trains=$$!; \
	$(BIN)/python scripts/wheel.py --lowest && wait $$trains

# What is imported is compiled then; compiling all of torch beforehand takes a minute.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[test]'
	touch $@
