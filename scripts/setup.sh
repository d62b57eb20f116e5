#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install what building and testing need: Debian packages, and a Python environment for the tests
# outside the sources. Safe to run again; does nothing (and downloads nothing) when all is there.
#   scripts/setup.sh [build|test]     build: enough for the daemon; test (default): also the tests
set -euo pipefail
what=${1:-test}
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/quire

packages=(build-essential cmake ninja-build pkg-config ca-certificates curl unzip python3 python3-pip
    python3-venv libmicrohttpd-dev libuv1-dev libcjson-dev libyaml-dev libpcre2-dev libutf8proc-dev
    nettle-dev)
[ "$what" = test ] && packages+=(ccache libcmocka-dev libopenblas-dev xz-utils
    clang-format clang-tidy cppcheck)

missing=()
for p in "${packages[@]}"; do
    dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
done
if [ ${#missing[@]} -gt 0 ]; then
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { echo "setup: need root or sudo to install: ${missing[*]}" >&2; exit 1; }
        as_root=(sudo)
    fi
    echo "setup: installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "${missing[@]}" >/dev/null
fi

if [ "$what" = test ]; then
    venv=$cache/venv
    want=$(sha256sum "$root/scripts/requirements-test.txt" | cut -d' ' -f1)
    if [ "$(cat "$venv/.requirements" 2>/dev/null)" != "$want" ]; then
        echo "setup: Python test packages into $venv"
        mkdir -p "$cache"
        python3 -m venv --clear "$venv"
        "$venv/bin/pip" install -q --disable-pip-version-check -r "$root/scripts/requirements-test.txt"
        echo "$want" >"$venv/.requirements"
    fi
fi
