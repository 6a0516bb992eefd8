# SPDX-License-Identifier: Apache-2.0
#
# Every target does the set-up that it needs. The second run finds it done.
#   make demo     the main job: two engines share one modelled NPU, static split against the controller
#   make experiments   published serving experiments on the same stack, into docs/results/ (QUICK=1: a minute each)
#   make test     native and Python tests
#   make check-fuzz   hostile bytes against everything that reads them, for a minute, under sanitizers
#   make check-properties  property tests with examples of their own choice
#   make check-chaos  tenants and the daemon are killed at random, 200 times
#   make check-load   a public load generator (guidellm) drives the serving example on the software NPU
#   make check-service  the units of deploy/systemd under a systemd of their own, in namespaces (root)
#   make check-scale  a full node (1,000 vNPUs, 200 tenants) under 500 requests a second, for ten minutes
#   make check-aarch64   libflexnpu.so for the other processor, and its tests in an emulator
#   make bench    what FlexNPU and the software NPU cost, and whether FlexNPU's promises hold
#   make bench-forecast   how far off the forecast is on measured tables (TABLES=FOLDER), and its speed
#   make bench-simulator  how quickly a trace is simulated, by policy (TRACE=FILE FORMAT=mooncake)
#   make bench-planner    how long every policy takes to plan, microseconds of this machine
#   make bench-policies   every policy's capacity on public traces (modelled): FLEXNPU_TRACES=DIR, QUICK=1 for minutes
#   make wire     the kubelet's messages in Python, from device_plugin/wire/*.proto
#   make web-picture  the pictures of the web page, from the demo's stack under load
#   make test-kubelet   the chart on a real kubelet, API server, scheduler and etcd, with containers on software NPUs
#   make manifests      deploy/manifests from the chart
#   make lint     ruff, mypy --strict, clang-format
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := build/stamps
# Where the CPU build of torch comes from, e.g. --index-url URL, where the configured registry does not have it.
TORCH_PIP_ARGS ?=

NATIVE_SOURCES := CMakeLists.txt pyproject.toml $(shell find native -type f -not -name '*.md')
TEST_SOURCES := $(shell find tests/native -type f)
CXX_FILES := $(shell find native tests/native -name '*.cc' -o -name '*.h' -o -name '*.c')

.PHONY: demo experiments test test-native test-python lint format wire check-sanitizers check-fuzz check-properties check-chaos check-load check-scale check-aarch64 bench bench-forecast bench-planner bench-simulator bench-policies check-service web-picture clean
.DELETE_ON_ERROR:

demo: $(STAMPS)/native
	$(BIN)/flexnpu demo --json out/demo.json --png out/demo.png

# Half an hour; figures of QUICK=1 are of few requests and go to out/.
EXPERIMENTS ?= flexnpu-table duetserve-mooncake duetserve-azure phase-change burst
RESULTS := $(if $(QUICK),out/results,docs/results)
experiments: $(STAMPS)/native
	for name in $(EXPERIMENTS); do $(BIN)/flexnpu experiment run $$name $(if $(QUICK),--quick) \
	  --json $(RESULTS)/$$name.json --markdown $(RESULTS)/$$name.md --png $(RESULTS)/$$name.png || exit 1; done

# Tests that two processes may run at once; the others watch the clock.
SIDE_BY_SIDE := tests/contract tests/device tests/unit

test: test-native test-python

test-native: $(STAMPS)/native-tests
	$(BIN)/ctest --test-dir build/wheel --output-on-failure --timeout 120 -j 2

test-python: $(STAMPS)/native-tests $(STAMPS)/prometheus $(STAMPS)/browser
	$(BIN)/python -m pytest -n 2 --dist loadfile $(SIDE_BY_SIDE)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE:%=--ignore=%)

wire: $(STAMPS)/python
	$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. device_plugin/wire/*.proto

.PHONY: test-kubelet manifests
# As root, on Debian 12: builds Kubernetes 1.20 once, for some minutes, and keeps it in the user's cache. ARGS are pytest's.
test-kubelet: $(STAMPS)/native
	$(BIN)/python tests/kubelet/run.py -s $(ARGS)

manifests: $(STAMPS)/native
	PYTHONPATH=tests/support $(BIN)/python deploy/manifests/render.py \
	  $$(PYTHONPATH=tests/support $(BIN)/python -c 'import kubernetes_clients as k; print(k.clients() / "helm")')

lint: $(STAMPS)/python
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy native/softnpu/profile/msprof.py
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)

format: $(STAMPS)/python
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

# The native tests that need no torch, under each sanitizer, in build trees of their own.
SANITIZED := softnpu_device_test softnpu_runtime_test softnpu_profile_test softnpu_sharing_test softnpu_hccl_test simulator_test \
  arbiter_test forecast_test page_test planner_test probe_test
check-sanitizers: $(STAMPS)/system $(STAMPS)/python
	for s in address undefined thread; do \
	  $(BIN)/cmake -S . -B build/$$s -G Ninja -DFLEXNPU_TESTS=ON -DFLEXNPU_SANITIZE=$$s \
	    -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python > build/$$s.log && \
	  $(BIN)/cmake --build build/$$s --target $(SANITIZED) && \
	  $(BIN)/ctest --test-dir build/$$s --output-on-failure --timeout 300 --no-tests=error \
	    -R '^(Runtime|Profiled|Probe|Sharing|Hccl|SharedDevice|Lanes|L2|FreeClock|Model|Soc|Decide|Arbiter|Schedule|Turns|Loans|Futexes|Page|ControlPage|ReportPage|Hail|Load|Rows|Contention|PlainAttention|Iteration|Monotone|Order|Queue|Line|Reach|SimulatedDevice|Seeds/RandomDevice)' || exit 1; \
	done

# What reads a stranger's bytes, under ASan and UBSan: the hello, the welcome, and the arbiter under scribbling tenants.
FUZZ_SECONDS ?= 60
FUZZ_SEED ?= 1
FUZZED := hello welcome arbiter
check-fuzz: $(STAMPS)/system $(STAMPS)/python
	$(BIN)/cmake -S . -B build/fuzz -G Ninja -DFLEXNPU_TESTS=ON -DFLEXNPU_SANITIZE=address,undefined \
	  -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python > build/fuzz.log
	$(BIN)/cmake --build build/fuzz --target $(FUZZED:%=fuzz_%)
	for target in $(FUZZED); do \
	  seconds=$$(( $(FUZZ_SECONDS) / 6 )); [ $$target != arbiter ] || seconds=$$(( $(FUZZ_SECONDS) * 2 / 3 )); \
	  echo "fuzz_$$target: $$seconds s"; \
	  build/fuzz/tests/native/fuzz/fuzz_$$target --seconds $$seconds --seed $(FUZZ_SEED) || exit 1; \
	done

# Property tests with examples of their own choice, which `make test` does not give them.
check-properties: $(STAMPS)/native
	$(BIN)/python -m pytest -q --hypothesis-profile=searching $$(grep -rl hypothesis tests/unit --include='test_*.py')

# Tenants and the daemon are killed at any moment, 200 times.
check-chaos: $(STAMPS)/native-tests
	CHAOS_ROUNDS=200 $(BIN)/python -m pytest -q tests/multiproc/test_chaos.py

# guidellm streams chats from the serving example, on a paced software NPU: out/load.json. It brings 1.5 GB of packages into
# an environment of its own; torch first, as below, so that it is the CPU build here, too.
LOAD := build/load-venv
check-load: $(STAMPS)/native $(STAMPS)/load
	mkdir -p out
	$(BIN)/flexnpu softnpu run --clock paced --math skip -- $(BIN)/python tests/load/drive.py \
	  --guidellm $(LOAD)/bin/guidellm --json out/load.json

# The daemon and a controller as services, under a systemd that is PID 1 of new namespaces.
check-service: $(STAMPS)/native
	@command -v systemctl >/dev/null && [ "$$(id -u)" = 0 ] || \
	  { echo "flexnpu: error: check-service needs root and systemd; run: sudo apt-get install systemd" >&2; exit 1; }
	tests/service/boot.sh

# 16 devices, 1,000 vNPUs, 200 tenants, 50 clients of the events, 500 requests a second; kills of the daemon: out/scale.json.
SCALE_SECONDS ?= 600
check-scale: $(STAMPS)/native
	mkdir -p out
	cd tests/load && $(CURDIR)/$(BIN)/python -m scale --seconds $(SCALE_SECONDS) --json $(CURDIR)/out/scale.json

# libflexnpu.so for aarch64, cross-compiled: what it needs and exports, and a test of each door under qemu's user mode.
EMULATED := ^(interposer.library_contract|Every/Doors|Below|Unlisted|Scopes|AnotherPreload|Launches|Lookup|PhaseOne)
check-aarch64: $(STAMPS)/aarch64 $(STAMPS)/python
	$(BIN)/cmake -S . -B build/aarch64 -G Ninja -DFLEXNPU_TESTS=ON -DFLEXNPU_INTERPOSER_ONLY=ON \
	  -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
	  -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
	  -DCMAKE_CROSSCOMPILING_EMULATOR="qemu-aarch64;-L;/usr/aarch64-linux-gnu" > build/aarch64.log
	$(BIN)/cmake --build build/aarch64
	readelf -h build/aarch64/native/interposer/libflexnpu.so | grep -q AArch64
	$(BIN)/ctest --test-dir build/aarch64 --output-on-failure --timeout 120 --no-tests=error -R '$(EMULATED)'

# What the software NPU costs, and what FlexNPU adds and keeps, in figures of this machine: out/bench-*.json. Not part of
# `make test`.
MEASURES := overhead decode attach reassign latency kills moves react fairness
bench: $(STAMPS)/native-tests
	[ -e /usr/include/benchmark/benchmark.h ] || { [ "$$(id -u)" = 0 ] && apt-get install -y -qq libbenchmark-dev; } || \
	  { echo "flexnpu: error: Google Benchmark is missing; run: sudo apt-get install libbenchmark-dev" >&2; exit 1; }
	mkdir -p out
	$(INSTALL) -C cmake.define.FLEXNPU_TESTS=ON -C cmake.define.FLEXNPU_BENCHMARKS=ON
	build/wheel/tests/native/softnpu/softnpu_launch_bench --benchmark_out=out/bench-launch.json
	$(BIN)/flexnpu softnpu run -- $(BIN)/python tests/bench/softnpu.py --json out/bench-softnpu.json
	for measure in $(MEASURES); do $(BIN)/flexnpu bench $$measure --json > out/bench-$$measure.json || exit 1; done

# Measured tables, a folder of each; excerpts under tests/data/perf without. Results: out/bench-forecast.json.
TABLES ?= tests/data/perf
bench-forecast: $(STAMPS)/native
	mkdir -p out
	$(BIN)/python tests/bench/forecast.py --tables $(TABLES) --json out/bench-forecast.json

# A trace as it is published, or without one a synthetic load of that size. Results: out/bench-simulator.json.
FORMAT ?= mooncake
bench-simulator: $(STAMPS)/native
	mkdir -p out
	$(BIN)/python tests/bench/simulator.py $(if $(TRACE),--trace $(TRACE) --format $(FORMAT)) --json out/bench-simulator.json

# Plans for 256 running and 256 waiting requests; the target is 100 us at the 99th percentile. Results: out/bench-planner.json.
bench-planner: $(STAMPS)/native
	mkdir -p out
	$(BIN)/python tests/bench/planner.py --json out/bench-planner.json

# Every policy's capacity on public traces, and what of published gains comes out here (docs/policies.md). All of it is
# simulated, so any machine gives the same figures.
bench-policies: $(STAMPS)/native
	mkdir -p out
	$(BIN)/python -m flexnpu.simulator.study $(if $(QUICK),--quick) $(BENCH_POLICIES_ARGS) \
	  --keep out/bench-policies.kept \
	  --json out/bench-policies.json --markdown out/bench-policies.md

web-picture: $(STAMPS)/native $(STAMPS)/browser
	$(BIN)/python tests/web/picture.py --light docs/images/web.png --dark docs/images/web-dark.png

clean:
	rm -rf build out $(VENV)

# --- set-up -----------------------------------------------------------------------------------------------------------------

# A C++20 compiler, GoogleTest and Python's headers: installed with apt by root, named in one line otherwise.
$(STAMPS)/system:
	@mkdir -p $(STAMPS)
	@missing=""; \
	command -v g++ >/dev/null || missing="$$missing g++"; \
	[ -e /usr/include/gtest/gtest.h ] || [ -e /usr/local/include/gtest/gtest.h ] || missing="$$missing libgtest-dev"; \
	for each in curl openssl; do command -v $$each >/dev/null || missing="$$missing $$each"; done; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
	$(PYTHON) -c 'import os, sysconfig as s, sys; sys.exit(not os.path.exists(s.get_path("include") + "/Python.h"))' 2>/dev/null \
	  || missing="$$missing python3-dev"; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    command -v ccache >/dev/null || missing="$$missing ccache"; \
	    echo "installing$$missing" && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing; \
	  else \
	    echo "flexnpu: error: system packages are missing; run: sudo apt-get install$$missing" >&2; exit 1; \
	  fi; \
	fi
	@touch $@

# Debian's Prometheus, unpacked and not installed: it takes no rights, and no service is started. Its tests are skipped
# where it cannot be had.
$(STAMPS)/prometheus: | $(STAMPS)/system
	@mkdir -p build/prometheus
	@command -v promtool >/dev/null || { cd build/prometheus && \
	  { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } && \
	  dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb && touch ../../$@; } || \
	  echo "flexnpu: note: Prometheus cannot be had, its tests are skipped; install promtool and prometheus" >&2
# Chromium for the tests of the web page, which are skipped without it.
$(STAMPS)/browser: | $(STAMPS)/system
	@if ! command -v chromium >/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing chromium" && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; \
	  else \
	    echo "flexnpu: note: tests of the web page are skipped; run: sudo apt-get install chromium" >&2; \
	  fi; \
	fi
	@touch $@

$(STAMPS)/load: | $(STAMPS)/system
	[ -x $(LOAD)/bin/python ] || $(PYTHON) -m venv $(LOAD)
	$(LOAD)/bin/python -m pip install -q torch==2.13.0 $(TORCH_PIP_ARGS)
	$(LOAD)/bin/python -m pip install -q guidellm==0.8.1
	@touch $@

$(STAMPS)/aarch64: | $(STAMPS)/system
	@missing=""; \
	command -v aarch64-linux-gnu-g++ >/dev/null || missing="$$missing g++-aarch64-linux-gnu"; \
	command -v qemu-aarch64 >/dev/null || missing="$$missing qemu-user"; \
	[ -e /usr/src/googletest/googletest ] || missing="$$missing googletest"; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing$$missing" && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing; \
	  else \
	    echo "flexnpu: error: system packages are missing; run: sudo apt-get install$$missing" >&2; exit 1; \
	  fi; \
	fi
	@touch $@

# torch first and alone: it must be the CPU build of the version that torch_npu was built for.
$(STAMPS)/python: pyproject.toml | $(STAMPS)/system
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "flexnpu: error: $(PYTHON) is $$($(PYTHON) --version), 3.11 or newer is needed; run: make PYTHON=python3.11" >&2; exit 1; }
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q torch==2.13.0 $(TORCH_PIP_ARGS)
	$(BIN)/python -m pip install -q torch_npu==2.13.0
	$(BIN)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb")); q = p["project"]; \
	  print(*p["build-system"]["requires"], *q["dependencies"], *q["optional-dependencies"]["demo"], \
	        *q["optional-dependencies"]["dev"], sep="\n")' > build/requirements.txt
	$(BIN)/python -m pip install -q -r build/requirements.txt
	@touch $@

INSTALL := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip install -q --no-build-isolation --no-deps -e .

$(STAMPS)/native: $(NATIVE_SOURCES) | $(STAMPS)/python
	$(INSTALL)
	@touch $@

$(STAMPS)/native-tests: $(NATIVE_SOURCES) $(TEST_SOURCES) | $(STAMPS)/python
	$(INSTALL) -C cmake.define.FLEXNPU_TESTS=ON
	@touch $@ $(STAMPS)/native
