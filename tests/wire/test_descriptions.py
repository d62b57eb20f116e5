# SPDX-License-Identifier: Apache-2.0
"""What is told to programs: /openapi.json tried by schemathesis, /metrics read by Prometheus' own parsers. The
environment QUIRE_SCHEMATHESIS_EXAMPLES says how much is tried of each path; scripts/test_clients.sh tries more.
"""

import importlib
import os
import re
import shutil
import subprocess
import sys

import pytest

from rig import serve


EXAMPLES = os.environ.get("QUIRE_SCHEMATHESIS_EXAMPLES")


def need(name):
    if os.environ.get("QUIRE_CLIENTS_ALL") == "1":
        return importlib.import_module(name)
    return pytest.importorskip(name)


@pytest.fixture(scope="module")
def server():
    with serve("scheduler.max_seqs=64", "model.max_model_len=4096", "tokenizer.info_endpoint=true") as s:
        yield s
        assert s.alive()


def test_schemathesis(server, tmp_path):
    """Requests generated from /openapi.json: no 5xx, every answer is what the description says, and what it refuses
    the server refuses. (That it takes what the description takes cannot be asked: no schema says what fits.)"""
    need("schemathesis")
    # the paths without /v1 are the same handlers again
    light = () if EXAMPLES else ("--exclude-path-regex", "^/(chat/|completions|models|embeddings|responses|messages)")
    program = shutil.which("schemathesis", path=os.path.dirname(sys.executable)) or shutil.which("schemathesis")
    p = subprocess.run(
        [
            program,
            "run",
            server.url + "/openapi.json",
            "--url",
            server.url,
            "--seed",
            "1",
            "--max-examples",
            EXAMPLES or "5",
            "--request-timeout",
            "20",
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
            "response_headers_conformance,unsupported_method,negative_data_rejection",
            "--phases",
            "examples,coverage,fuzzing",
            "--no-color",
            *light,
        ],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=tmp_path,  # it leaves its records there
    )
    print(p.stdout[-1500:])
    assert p.returncode == 0, p.stdout[-4000:] + p.stderr[-1000:]


def metrics_text(server):
    for ask in (
        {"prompt": "x", "max_tokens": 4},
        {"prompt": "x", "max_tokens": 4, "stream": True},
        {"prompt": 5},
        {"prompt": "x", "temperature": 9},
    ):
        server.post("/v1/completions", ask)
    server.ask("GET", "/nope")
    return server.ask("GET", "/metrics").body.decode()


def test_prometheus_parser(server):
    need("prometheus_client")
    from prometheus_client.parser import text_string_to_metric_families

    families = list(text_string_to_metric_families(metrics_text(server)))
    names = [f.name for f in families]
    assert len(names) == len(set(names)) > 20 and all(f.documentation and f.type != "unknown" for f in families)
    for f in families:
        seen = [(s.name, tuple(sorted(s.labels.items()))) for s in f.samples]
        assert len(seen) == len(set(seen)), f.name
        if f.type == "histogram":
            counts = {}
            for s in f.samples:
                if s.name.endswith("_bucket"):
                    counts.setdefault(tuple(sorted((k, v) for k, v in s.labels.items() if k != "le")), []).append(
                        (float(s.labels["le"]), s.value)
                    )
            for got in counts.values():
                assert [v for _, v in got] == sorted(v for _, v in got) and got[-1][0] == float("inf"), f.name


def test_promtool(server):
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed (Debian package prometheus)")
    p = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics_text(server), capture_output=True, text=True, timeout=30
    )
    # names with colons and foreign units are vLLM's and SGLang's; our own names have no excuse
    own = [x for x in (p.stdout + p.stderr).splitlines() if x.strip() and not re.match(r"(vllm|sglang):", x)]
    assert p.returncode in (0, 3) and not own, own
