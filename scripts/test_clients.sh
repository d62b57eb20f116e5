#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Run every pinned client of scripts/requirements-clients.txt against quired (build/release by default), and the
# attacks behind nginx and haproxy. About 1 GB of PyPI packages the first time, into an environment of their own.
#   scripts/test_clients.sh [QUIRED]
# promtool, nginx and haproxy are used when they are there (Debian: prometheus, nginx-light, haproxy).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/quire
export QUIRED=${1:-$root/build/release/quired}
[ -x "$QUIRED" ] || { echo "clients: no $QUIRED; build it, or name another one" >&2; exit 1; }

venv=$cache/venv-clients
want=$(sha256sum "$root/scripts/requirements-clients.txt" | cut -d' ' -f1)
if [ "$(cat "$venv/.requirements" 2>/dev/null)" != "$want" ]; then
    echo "clients: Python packages into $venv"
    mkdir -p "$cache"
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$root/scripts/requirements-clients.txt"
    echo "$want" >"$venv/.requirements"
fi
for p in promtool nginx haproxy; do
    command -v $p >/dev/null || [ -x /usr/sbin/$p ] || echo "clients: no $p here; its tests are skipped"
done

export QUIRE_CLIENTS_ALL=1 PYTHONDONTWRITEBYTECODE=1 QUIRE_SCHEMATHESIS_EXAMPLES=${QUIRE_SCHEMATHESIS_EXAMPLES:-60}
export LITELLM_LOCAL_MODEL_COST_MAP=True LITELLM_TELEMETRY=False LANGSMITH_TRACING=false DO_NOT_TRACK=1
"$venv/bin/pip" freeze --disable-pip-version-check | grep -iE "^(openai|langchain-openai|litellm|instructor|llama-index-llms|anthropic|llm|schemathesis|prometheus)"
cd "$root/tests/wire"
exec "$venv/bin/python" -m pytest -q -rs -p no:cacheprovider test_clients_light.py test_clients_full.py test_openapi.py \
    test_descriptions.py test_smuggling.py
