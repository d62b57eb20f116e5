#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install what the tests need, build, run every test. Ends with ctest's summary.
#   scripts/test.sh [--fast]    --fast: the release build only, without sanitizers and CUDA
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
fast=0
[ "${1:-}" = --fast ] && fast=1
build=${QUIRE_BUILD_DIR:-$root/build}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/quire

./scripts/setup.sh test
export QUIRE_TEST_PYTHON=$cache/venv/bin/python
if model=$(./scripts/fetch_demo_model.sh); then
    export QUIRE_TEST_MODEL=$model
else
    echo "test: no demo model; the end-to-end tests with real weights will be skipped" >&2
fi

# configure DIR NAME CMAKE-ARGS...: configure and build
compile() {
    local dir=$build/$1
    shift
    echo "== build ${dir##*/}"
    cmake -S . -B "$dir" -G Ninja "$@" >/dev/null
    cmake --build "$dir" 2>&1 | tail -n 3
}

if [ $fast = 0 ]; then
    if command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then
        [ -f src/backend/cuda/cuda.cmake ] && compile cuda --preset cuda -B "$build/cuda"
    else
        echo "test: no nvcc here; the CUDA backend is not compiled"
    fi
    compile asan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DQUIRE_SANITIZE=address,undefined -DQUIRE_FAULTS=ON
    ctest --test-dir "$build/asan" --output-on-failure -j2 -LE 'gpu|e2e|lint' -Q ||
        { echo "test: the ASan+UBSan suite failed"; ctest --test-dir "$build/asan" --rerun-failed --output-on-failure; exit 1; }
    compile tsan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DQUIRE_SANITIZE=thread
    ctest --test-dir "$build/tsan" --output-on-failure -j2 -L 'base|engine|http' -Q ||
        { echo "test: the TSan suite failed"; ctest --test-dir "$build/tsan" --rerun-failed --output-on-failure; exit 1; }
fi
compile release -DCMAKE_BUILD_TYPE=Release
ctest --test-dir "$build/release" --output-on-failure -j2
