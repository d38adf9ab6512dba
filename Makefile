# make demo    build, install, find the vertebrae of a synthetic scan, show a table and a picture
# make test    build, install, run the tests
# make lint    types, style and format
# make sanitize  the kernels' own tests under the address, undefined-behaviour and thread sanitizers
# make gpu-check  on a machine with a GPU: build, test, sanitize and measure the CUDA kernels with PYTHON's own torch
# make bench   the kernels against the plain baselines: a table of ratios, kept in README.md and docs/benchmarks.md;
#              ARGS="-m gpu" or "-m 'not gpu'" for one kind of device
# make bench-all  those, the networks, the pipeline, the crops of a training and the scans of the generator per second
# make bench-end-to-end  from file to centroids against the paper's way and others' (docs/performance.md); ARGS="--data DIR"
# make weights train the shipped weights again (hours); DATA names the folder of scans and label maps
# make leave-out  after it: judge that training by the real scans, each named by weights that never saw it
# make ingredients  what each ingredient of the training data is worth
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml constraints.txt CMakeLists.txt $(shell find csrc -type f)

.PHONY: demo test lint sanitize gpu-check bench bench-all bench-end-to-end weights leave-out ingredients clean

demo: $(VENV)/installed
	rm -rf demo
	$(BIN)/spinefinder phantom -o demo/scan --first T9 --last S1 --seed 7
	$(BIN)/spinefinder predict demo/scan -o demo/result
	$(BIN)/spinefinder evaluate demo/result demo/scan
	@echo "The picture: demo/result/phantom.png"

test: $(VENV)/installed
	$(BIN)/python -m pytest

lint: $(VENV)/installed
	$(BIN)/mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/clang-format --dry-run --Werror $(shell find csrc tests/native -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')

BENCH := $(BIN)/python -m pytest --benchmark-enable

bench: $(VENV)/bench
	$(BENCH) benchmarks/kernels --benchmark-quiet --save-ratios $(ARGS)

bench-all: bench
	$(BENCH) benchmarks/networks benchmarks/pipeline benchmarks/training --benchmark-group-by=group --benchmark-columns=median,iqr,ops,rounds

bench-end-to-end: $(VENV)/bench
	$(BIN)/python -m benchmarks.end_to_end $(ARGS)

sanitize: $(VENV)/installed
	for preset in asan tsan; do \
		PATH="$(abspath $(BIN)):$$PATH" cmake --preset $$preset && \
		PATH="$(abspath $(BIN)):$$PATH" cmake --build --preset $$preset --target kernel_tests && \
		build/$$preset/kernel_tests || exit 1; \
	done

gpu-check:
	PYTHON="$(PYTHON)" benchmarks/gpu_check.sh

# Rendered scans first, real ones among them then, and the identification from the mean of both. A run that was stopped
# goes on when it is called again.
RECIPES := spinefinder_fast/training/recipes
weights: $(VENV)/installed
	$(if $(DATA),,$(error DATA must name the folder of scans and label maps))
	test -d runs/set || { $(BIN)/python -m spinefinder_fast.training.build_set $(RECIPES)/synthetic.toml $(DATA) runs/set.part \
		--processes $$(nproc) && mv runs/set.part runs/set; }
	$(BIN)/spinefinder train runs/set/synthetic -o runs/synthetic --recipe $(RECIPES)/synthetic.toml --store runs/volumes
	$(BIN)/spinefinder train runs/set/synthetic runs/set/real/* -o runs/real --recipe $(RECIPES)/real.toml --start runs/synthetic \
		--store runs/volumes
	$(BIN)/python -m spinefinder_fast.training.combine runs/mean identification=runs/synthetic,runs/real
	$(BIN)/spinefinder train runs/set/synthetic runs/set/real/* -o runs/settled --network identification \
		--recipe $(RECIPES)/settle.toml --start runs/mean --store runs/volumes
	$(BIN)/python -m spinefinder_fast.training.combine spinefinder_fast/weights coarse=runs/real detection=runs/real \
		identification=runs/settled

leave-out: $(VENV)/installed
	$(if $(DATA),,$(error DATA must name the folder of scans and label maps))
	$(BIN)/python -m spinefinder_fast.training.leave_out $(RECIPES)/real.toml runs/set $(DATA)/scans runs/synthetic runs/leave-out

# What each ingredient of the training data is worth: sets that lack one, and an ablation over them.
ingredients: $(VENV)/installed
	$(if $(DATA),,$(error DATA must name the folder of scans and label maps))
	$(BIN)/python -m spinefinder_fast.training.ingredients $(RECIPES)/ingredients.toml $(DATA) runs/ingredients --processes $$(nproc)

# elasticdeform's wheels are built against NumPy 1 and do not import under NumPy 2; its source builds under both.
$(VENV)/installed: $(SOURCES)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-binary elasticdeform --editable ".[dev]"
	touch $@

$(VENV)/bench: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bench]"
	touch $@

clean:
	rm -rf $(VENV) build demo
