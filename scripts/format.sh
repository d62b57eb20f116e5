#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Format all sources, or with --check fail when something is not formatted. Needs clang-format 14, the
# one of Debian 12 (scripts/setup.sh test installs it): other versions format differently.
#   scripts/format.sh [--check]
set -euo pipefail
cd "$(dirname "$0")/.."
tool=$(command -v clang-format-14 || command -v clang-format || true)
if [ -z "$tool" ] || ! "$tool" --version | grep -q 'version 14\.'; then
    echo "format: clang-format 14 is not here; scripts/setup.sh test installs it" >&2
    exit 1
fi
mapfile -t files < <(find src include tests kernels -type f \
    \( -name '*.c' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' \) | sort)
if [ "${1:-}" = --check ]; then
    "$tool" --dry-run -Werror "${files[@]}"
else
    "$tool" -i "${files[@]}"
fi
