# SPDX-License-Identifier: Apache-2.0
"""lm-evaluation-harness' loglikelihood requests, in its form, against transformers' values for the same weights.

tests/fixtures/smollm2_loglik.json (scripts/gen_golden.py loglik: transformers, the demo model, float32) has 100
pairs of context and continuation. The harness sends batches of both as one array of ids with "echo", and reads
the continuation's part of the arrays; what it calls greedy is a logprob that equals the largest beside it.
"""

import json
import os
import subprocess

import pytest

from rig import ROOT, serve

CASES = json.loads((ROOT / "tests/fixtures/smollm2_loglik.json").read_text())
TOLERANCE = 1e-3
BATCH = 10


@pytest.fixture(scope="module")
def model():
    p = subprocess.run([ROOT / "scripts/fetch_demo_model.sh"], capture_output=True, text=True)
    if p.returncode != 0:
        pytest.skip("no demo model: " + p.stderr[-200:])
    return p.stdout.strip()


def loglikelihood(server, cases):
    """What the harness makes of one answer: the continuations' logprobs, and whether each is greedy."""
    body = {
        "model": "tiny",
        "prompt": [c["ids"] for c in cases],
        "temperature": 0,
        "max_tokens": 1,
        "logprobs": 1,
        "seed": 1234,
        "echo": True,
    }
    a = server.post("/v1/completions", body, timeout=300)
    assert a.status == 200, a.body
    out = []
    for choice, case in zip(sorted(a.json()["choices"], key=lambda c: c["index"]), cases, strict=True):
        lp, at = choice["logprobs"], case["n_context"]
        mine = lp["token_logprobs"][at:-1]
        best = [max(t.values()) for t in lp["top_logprobs"][at:-1]]
        out.append((mine, best, all(m == b for m, b in zip(mine, best, strict=True)), lp, choice["text"]))
    return out


def test_hundred_loglikelihoods(model):
    assert len(CASES) == 100
    with serve(f"model.path={model}", "model.load_format=auto", f"cpu.threads={os.cpu_count()}",
               "kv.pool_bytes=512MiB", "limits.max_answer_bytes=64MiB", ready_s=120) as s:
        for c in CASES:  # the fixture's ids are this server's, too
            assert s.post("/tokenize", {"prompt": c["context"] + c["continuation"],
                                        "add_special_tokens": False}).json()["tokens"] == c["ids"]
        worst = worst_sum = tokens = greedy = close = 0
        for i in range(0, len(CASES), BATCH):
            for case, (mine, best, is_greedy, lp, text) in zip(CASES[i:], loglikelihood(s, CASES[i : i + BATCH])):
                assert len(mine) == len(case["logprobs"])
                worst = max(worst, *(abs(a - b) for a, b in zip(mine, case["logprobs"])),
                            *(abs(a - b) for a, b in zip(best, case["best"])))
                worst_sum = max(worst_sum, abs(sum(mine) - sum(case["logprobs"])))
                tokens += len(mine)
                if min(case["margins"]) > TOLERANCE:
                    assert is_greedy == all(r == 1 for r in case["ranks"])
                    greedy += is_greedy
                else:
                    close += 1
                assert text.startswith(case["context"] + case["continuation"])
                assert text[lp["text_offset"][case["n_context"]] :].startswith(case["continuation"])
        ranks = s.post("/v1/completions", {"prompt": CASES[0]["ids"], "max_tokens": 1, "prompt_logprobs": 0}).json()
        own = ranks["choices"][0]["prompt_logprobs"][CASES[0]["n_context"]]
        assert [e["rank"] for e in own.values()] == CASES[0]["ranks"][:1]
    print(f"{len(CASES)} cases, {tokens} tokens: largest difference {worst:.2e}, of sums {worst_sum:.2e}; "
          f"{greedy} greedy, {close} with a margin of at most {TOLERANCE}")
    assert worst <= TOLERANCE and worst_sum <= TOLERANCE
    assert greedy >= 5
