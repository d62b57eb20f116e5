#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a fresh clone to a streamed answer: install, build, fetch the demo model, start quired, ask it
# something. Leaves the server running and says how to stop it; with --check it stops it and exits.
#   scripts/quickstart.sh [--check] [question]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
check=0
[ "${1:-}" = --check ] && { check=1; shift; }
question=${1:-What is the capital of France? Answer in one sentence.}
build=${QUIRE_BUILD_DIR:-$root/build/quickstart}
port=${QUIRE_PORT:-8000}
if [ $check = 1 ] && [ -z "${QUIRE_PORT:-}" ]; then # do not collide with a server that is running
    port=$(python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])' 2>/dev/null || echo 18000)
fi

./scripts/setup.sh build
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF >/dev/null
cmake --build "$build" --target quired
model=$(./scripts/fetch_demo_model.sh)

log=$build/quired.log
"$build/quired" --config configs/demo.yaml --set "model.path=$model" --set "http.listen=127.0.0.1:$port" \
    >"$log" 2>&1 &
pid=$!
stop() { kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; }
trap stop EXIT

url=http://127.0.0.1:$port
for _ in $(seq 1 600); do
    curl -fsS -o /dev/null "$url/ready" 2>/dev/null && break
    kill -0 "$pid" 2>/dev/null || { echo "quickstart: quired ended early:" >&2; cat "$log" >&2; exit 1; }
    sleep 0.1
done
curl -fsS -o /dev/null "$url/ready" || { echo "quickstart: not ready after 60 s, see $log" >&2; exit 1; }

body=$(python3 -c 'import json,sys; print(json.dumps({"messages":[{"role":"user","content":sys.argv[1]}],"max_tokens":64,"temperature":0,"stream":True}))' "$question")
echo
echo "> $question"
curl -fsSN "$url/v1/chat/completions" -H 'Content-Type: application/json' -d "$body" |
    python3 -c '
import json, sys
text = ""
for line in sys.stdin:
    line = line.strip()
    if not line.startswith("data: ") or line == "data: [DONE]":
        continue
    event = json.loads(line[6:])
    if "error" in event:
        sys.exit("error: " + event["error"]["message"])
    for choice in event["choices"]:
        piece = choice["delta"].get("content") or ""
        text += piece
        print(piece, end="", flush=True)
print()
sys.exit(0 if text.strip() else "quickstart: the answer was empty")
'
echo
if [ $check = 1 ]; then
    stop
    trap - EXIT
    echo "quickstart: ok"
    exit 0
fi
trap - EXIT
cat <<EOT
quired is running (pid $pid, log $log). Ask it yourself:

  curl -N $url/v1/chat/completions -H 'Content-Type: application/json' \\
       -d '{"messages":[{"role":"user","content":"Tell me about the sea."}],"stream":true}'

Stop it with: kill $pid
EOT
