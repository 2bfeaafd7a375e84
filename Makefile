# `make demo` shows it, `make test` proves it. Both set up .venv first; nothing else on the machine is touched.

PYTHON ?= python3
BIN := .venv/bin
PUBLISH = $(BIN)/python -c 'import sys; from kdpinn_edge.model import publish; publish(sys.argv[1])'

.PHONY: help demo test lint zoo readme verify-activations verify-targets constraints

help:
	@echo "make demo         export the shipped student, call it from C, compare the backends"
	@echo "make test         the tests"
	@echo "make lint         ruff, mypy --strict, import-linter"
	@echo "make zoo          train the shipped models again"
	@echo "make readme       write the comparison into README.md"
	@echo "make verify-activations"
	@echo "                  every activation on every float32 (20 minutes on 2 cores), into docs/numerics.md"
	@echo "make verify-targets"
	@echo "                  three networks and their jets on every target that can be emulated (10 minutes)"
	@echo "make constraints  pin what .venv holds now in constraints.txt; other pins stay"
	@echo "PYTHON=python3.12 chooses the interpreter for .venv (3.11 or newer)"

demo: .venv/.ready
	@command -v cc >/dev/null || { echo "make demo: no C compiler (cc) on PATH; on Debian: apt-get install build-essential" >&2; exit 1; }
	rm -rf demo && mkdir demo
	$(BIN)/kdpinn-edge export burgers --out demo/burgers --derivatives "u, u_x, u_t, u_xx" --residual
	cc -std=c99 -O2 -Wall -Wextra -Wpedantic -Werror -Idemo/burgers demo/burgers/example.c -o demo/example -Ldemo/burgers -lburgers -Wl,-rpath,'$$ORIGIN/burgers'
	demo/example
	$(BIN)/kdpinn-edge bench demo/burgers

test: .venv/.ready
	@$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

zoo: .venv/.ready
	rm -rf runs/zoo
	$(BIN)/kdpinn-edge train burgers --out runs/zoo/burgers_teacher
	$(PUBLISH) runs/zoo/burgers_teacher
	$(BIN)/kdpinn-edge distill burgers --out runs/zoo/burgers_student
	$(PUBLISH) runs/zoo/burgers_student
	$(BIN)/kdpinn-edge train burgers_nu --hidden 24,24,24 --points 4000 --rounds 80 --out runs/zoo/burgers_nu_teacher
	$(PUBLISH) runs/zoo/burgers_nu_teacher
	$(BIN)/kdpinn-edge distill burgers_nu --hidden 20,20,20 --out runs/zoo/burgers_nu_student
	$(PUBLISH) runs/zoo/burgers_nu_student
	$(BIN)/kdpinn-edge train heat --hidden 16,16 --rounds 40 --out runs/zoo/heat_teacher
	$(PUBLISH) runs/zoo/heat_teacher
	$(BIN)/kdpinn-edge distill heat --hidden 8,8 --physics-weight 0.0 --out runs/zoo/heat_student
	$(PUBLISH) runs/zoo/heat_student
	$(BIN)/kdpinn-edge train black_scholes --hidden 16,16 --points 2000 --rounds 300 --out runs/zoo/black_scholes_teacher
	$(PUBLISH) runs/zoo/black_scholes_teacher
	$(BIN)/kdpinn-edge distill black_scholes --hidden 8,8 --physics-weight 0.0 --out runs/zoo/black_scholes_student
	$(PUBLISH) runs/zoo/black_scholes_student
	$(BIN)/kdpinn-edge train kovasznay --hidden 20,20,20 --points 1200 --rounds 60 --out runs/zoo/kovasznay_teacher
	$(PUBLISH) runs/zoo/kovasznay_teacher
	$(BIN)/kdpinn-edge distill kovasznay --physics-weight 0.0 --out runs/zoo/kovasznay_student
	$(PUBLISH) runs/zoo/kovasznay_student

readme: demo
	$(BIN)/python benchmarks/readme.py --bundle demo/burgers

verify-activations: .venv/.ready
	$(BIN)/python benchmarks/verify_activations.py --write

verify-targets: .venv/.ready
	$(BIN)/python -m pytest -m proof

constraints: .venv/.ready
	{ $(BIN)/pip freeze --all --exclude pip --exclude kdpinn-edge | sed -E 's/\+cpu$$//'; cat constraints.txt; } \
		| LC_ALL=C sort -s -f -u -t= -k1,1 > constraints.new
	mv constraints.new constraints.txt

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is missing or older than Python 3.11; name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up .venv from constraints.txt (a few minutes the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
