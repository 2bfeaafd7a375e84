# `make demo` shows it, `make test` proves it. Each sets up .venv first, as far as it needs it; nothing else on the machine is touched.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test lint docs zoo cards paper paper-plain readme verify-activations verify-docs verify-docs-images verify-hosts verify-libraries verify-targets verify-kill fuzz release sbom constraints verify-certificates

help:
	@echo "make demo         export the shipped student, call it from C, compare the backends"
	@echo "make test         the tests"
	@echo "make lint         ruff, mypy --strict, import-linter, codespell"
	@echo "make docs         build the documentation into site/, its tutorials executed (5 minutes; again as far as it changed)"
	@echo "make zoo          train the shipped models again (30 minutes; runs/zoo keeps what is done)"
	@echo "make cards        write docs/zoo.md: their errors, sizes, instructions and commands"
	@echo "make paper        the paper's claims: large teachers, their students, both timed (50 minutes for each of SEEDS)"
	@echo "make paper-plain  the paper as it is: plain PINNs, students under its loss at every weight (one to two hours); SIZE=--small"
	@echo "make readme       write the table of README.md"
	@echo "make verify-activations"
	@echo "                  every function on every float32 (about an hour on 2 cores), into docs/numerics.md"
	@echo "make verify-certificates"
	@echo "                  certificates of the shipped models, and 10^8 points that have to be within them (20 minutes)"
	@echo "make verify-docs  README and the long pages of docs/, as printed, in fresh environments (10 minutes)"
	@echo "make verify-hosts"
	@echo "                  the model in hosts whose tools are large: Rust, Octave, AVR, FMUs, Python under Wine, tools that read"
	@echo "                  ONNX, do-mpc; workers on PostgreSQL (apt-get install cargo octave-dev gcc-avr avr-libc simavr wine64"
	@echo "                  nodejs npm postgresql; 6 minutes)"
	@echo "make verify-libraries"
	@echo "                  networks of DeepXDE, PINA, Keras and others, in .venv-libraries (3 GB, 30 minutes)"
	@echo "make verify-targets"
	@echo "                  the proofs: large networks on every target that can be emulated, references, shipped models (38 minutes)"
	@echo "make fuzz         every reader on mutated files, a million in all (an hour): no traceback, no hang, no changed meaning"
	@echo "make verify-kill  export, train, study, search and bench, killed at 50 random moments each (an hour)"
	@echo "make verify-docs-images"
	@echo "                  the site in Chromium, narrow and wide, light and dark, beside the pictures in tests/golden/site"
	@echo "make release      sdist, wheel and SHA256SUMS of a tagged commit, in dist/; uploads nothing"
	@echo "make sbom         sbom.cdx.json: the packages that .venv holds, in CycloneDX 1.6"
	@echo "make constraints  pin what .venv holds now in constraints.txt; other pins stay"
	@echo "PYTHON=python3.12 chooses the interpreter for .venv (3.11 or newer)"

demo: .venv/.demo
	@command -v cc >/dev/null || { echo "make demo: no C compiler (cc) on PATH; on Debian: apt-get install build-essential" >&2; exit 1; }
	rm -rf demo && mkdir demo
	$(BIN)/kdpinn-edge export burgers --out demo/burgers --derivatives "u, u_x, u_t, u_xx" --residual
	cc -std=c99 -O2 -Wall -Wextra -Wpedantic -Werror -Idemo/burgers demo/burgers/example.c -o demo/example -Ldemo/burgers -lburgers -Wl,-rpath,'$$ORIGIN/burgers'
	demo/example
	$(BIN)/kdpinn-edge bench demo/burgers

# Compiled modules are kept, whatever the shell says: the tests start some hundred processes.
test: .venv/.dev
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy benchmarks tools
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell

docs: .venv/.docs build/docs/.models
	@for tool in cc qemu-system-arm; do command -v $$tool >/dev/null || { echo "make docs: the tutorials need $$tool; on Debian: apt-get install build-essential qemu-system-arm" >&2; exit 1; }; done
	$(BIN)/sphinx-build -q -W --keep-going -d build/docs/doctrees docs build/docs/html
	$(BIN)/python tools/site_pages/check.py build/docs/html
	rm -rf site
	cp -r build/docs/html site

# What pages show that the package calculates: models in the gallery, tutorials in the pages that Sphinx remembers.
build/docs/.models: $(shell find kdpinn_edge/ export/ runtime/ -name '*.py' -o -path '*/templates/*') tools/site_pages/gallery.py | .venv/.docs
	rm -rf build/docs
	$(BIN)/python tools/site_pages/gallery.py
	touch $@

zoo: .venv/.dev
	$(BIN)/python tools/zoo.py make

cards: .venv/.dev
	$(BIN)/python tools/zoo.py cards

# The paper's claims: of each of its equations a large teacher, trained by Adam and L-BFGS, and a student of 3×16, timed in every runtime.
LARGE := burgers allen_cahn black_scholes taylor_green
LARGE_HIDDEN = 100,100,100,100,100,100
LARGE_POINTS = 2000
LARGE_ROUNDS = 20
STUDENT_POINTS = 3000
runs/large/black_scholes.%_student: STUDENT_POINTS = 1500
runs/large/taylor_green.%: LARGE_POINTS = 700
runs/large/taylor_green.%: LARGE_ROUNDS = 10
runs/large/taylor_green.%_student: STUDENT_POINTS = 1200
SEEDS = 0
RUNS := $(foreach each,$(LARGE),$(SEEDS:%=$(each).%))

# A run has its name when it is finished; one that was interrupted begins anew.
$(RUNS:%=runs/large/%_student): runs/large/%_student: runs/large/% | .venv/.dev
	rm -rf $@.unfinished
	$(BIN)/kdpinn-edge distill $(basename $*) --seed $(patsubst .%,%,$(suffix $*)) --teacher $< --points $(STUDENT_POINTS) --physics-weight 0 --out $@.unfinished
	mv $@.unfinished $@

$(RUNS:%=runs/large/%): runs/large/%: | .venv/.dev
	rm -rf $@.unfinished
	$(BIN)/kdpinn-edge train $(basename $*) --seed $(patsubst .%,%,$(suffix $*)) --hidden $(LARGE_HIDDEN) --optimiser lbfgs --points $(LARGE_POINTS) --rounds $(LARGE_ROUNDS) --steps 100 --out $@.unfinished
	mv $@.unfinished $@

paper: $(RUNS:%=runs/large/%_student)
	for each in $(LARGE); do \
		$(BIN)/kdpinn-edge bench-zoo $$each --n 10000 \
			$(foreach seed,$(SEEDS),--teacher runs/large/$$each.$(seed) --student runs/large/$$each.$(seed)_student) || exit 1; \
	done

paper-plain: .venv/.dev
	$(BIN)/python benchmarks/paper_plain.py $(SIZE)

readme: .venv/.dev
	$(BIN)/python benchmarks/readme.py

verify-activations: .venv/.dev
	$(BIN)/python tools/coefficients.py --check
	$(BIN)/python tools/fixed_point_tables.py --check
	$(BIN)/python benchmarks/verify_activations.py --write

verify-certificates: .venv/.dev
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/verify_certificates.py --write
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/verify_certificates.py --precision float64 --points 2e6 --write
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/verify_certificates.py --derivatives --points 1e7 --write

verify-docs: .venv/.dev
	$(BIN)/python tools/verify_docs.py

# One process for each library: some set types and backends for all of torch.
verify-libraries: .venv-libraries/.done
	for each in tests/libraries/test_*.py; do \
		.venv-libraries/bin/python -m pytest --quiet --confcutdir=tests/libraries -W ignore $$each || exit 1; \
	done

verify-targets: .venv/.dev
	$(BIN)/python -m pytest -m proof

verify-hosts: .venv/.dev .venv/.hosts .venv/node_modules .venv/acados
	$(BIN)/python -m pytest -m hosts

verify-kill: .venv/.dev
	$(BIN)/python tools/kill.py

fuzz: .venv/.dev
	$(BIN)/python tools/fuzz.py

verify-docs-images: docs
	$(BIN)/python tools/site_pages/screenshots.py check

release: .venv/.dev
	$(BIN)/python tools/release.py

sbom: .venv/.dev .venv-sbom/.done
	.venv-sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type library --output-reproducible --output-file sbom.cdx.json $(BIN)/python

constraints: .venv/.dev
	{ $(BIN)/pip freeze --all --exclude pip --exclude kdpinn-edge | sed -E 's/\+cpu$$//'; cat constraints.txt; } \
		| LC_ALL=C sort -s -f -u -t= -k1,1 > constraints.new
	mv constraints.new constraints.txt

# Extras of pyproject.toml: what the demo uses, on top of it what most targets use, what builds the site, and hosts.
.venv/.dev .venv/.docs .venv/.hosts: .venv/.demo

.venv/.demo .venv/.dev .venv/.docs .venv/.hosts: .venv/.%: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is missing or older than Python 3.11; name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up .venv with [$*] from constraints.txt (a few minutes the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@

# A build of acados with a CasADi of its own, which would take the place of ours.
.venv/acados: | .venv/.demo
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target .venv/acados comma-deps-acados==0.2.2.post92
	rm -r .venv/acados/casadi

.venv/node_modules: | .venv/.demo
	npm install --silent --ignore-scripts --no-audit --no-fund --prefix .venv onnxruntime-web@1.30.0

# An environment of its own: the tool is in no list of what the package needs.
.venv-sbom/.done:
	$(PYTHON) -m venv .venv-sbom
	.venv-sbom/bin/pip install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0
	touch $@

# The list is complete, so nothing is resolved: TorchPhysics asks for NumPy 1, and runs with NumPy 2.
.venv-libraries/.done: tests/libraries/requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv-libraries
	.venv-libraries/bin/pip install --quiet --disable-pip-version-check --no-deps -r tests/libraries/requirements.txt -e .
	touch $@
