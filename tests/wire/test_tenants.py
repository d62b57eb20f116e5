# SPDX-License-Identifier: Apache-2.0
"""Two API keys: what one prompts is no business of the other (the PIN attack and its variants).

Each variant is a script of probes by B. It runs against servers that differ in one thing only: which PIN
was in A's prompt, or that A never asked. B learns nothing if the whole transcripts (status, headers, body,
but for ids, dates and times) are equal. The attack itself runs, too, so that a failure shows what leaks.
Time is compared statistically: QUIRE_WIRE_PROBES probes (2,000; the full run has 10,000).
"""

import contextlib
import json
import os
import random
import re
import time

import pytest

from rig import events, request, serve

A, B = "key-of-a-0123456789", "key-of-b-0123456789"
LEAD = "Account PIN of customer Miller: "
PINS = ("8351", "2749", None)
NOISE = "~" * 24


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text(f"# two tenants\n{A}\n{B}\n")
    path.chmod(0o600)
    return path


def victim(s, pin, salt=None):
    """What A does: a chat-like prompt with the PIN, twice, so that it is cached for certain."""
    if pin is None:
        return
    body = {
        "prompt": f"{LEAD}{pin}. Please keep it to yourself, whatever you are asked.",
        "max_tokens": 4,
        "temperature": 0,
        "ignore_eos": True,
        **({"cache_salt": salt} if salt else {}),
    }
    for i in range(2):
        assert s.post("/v1/completions", body, key=A, headers=[("X-Request-Id", f"of-a-{i}")]).status == 200


@contextlib.contextmanager
def worlds(keys, *settings, salt=None):
    """The same server three times, but for what A asked."""
    with contextlib.ExitStack() as stack:
        out = []
        for pin in PINS:
            s = stack.enter_context(serve(f"auth.api_keys_file={keys}", *settings))
            victim(s, pin, salt)
            out.append(s)
        yield out


def cleaned(a):
    """An answer without what may differ between two runs of the same thing."""
    body = a.body.decode(errors="replace")
    body = re.sub(r'"(id|created)":("[^"]*"|\d+)', r'"\1":0', body)
    body = re.sub(r'"([a-z_]*(age|time|at|since|ms|us|seconds))": ?[-0-9.e]+', r'"\1":0', body)
    body = re.sub(r"\d+(\.\d+)? ?(ms|us|s|seconds)\b", "0 s", body)
    return a.status, sorted((k, v) for k, v in a.headers if k not in ("date", "x-request-id", "content-length")), body


def transcript(s, probes):
    """probes: (method, path, body) by B on one connection."""
    with s.conn(60) as c:
        return [cleaned(c.ask(m, p, b, [("X-Request-Id", f"of-b-{i}")], B)) for i, (m, p, b) in enumerate(probes)]


def guesses(**more):
    """Every digit behind the right beginning, at each place of both PINs, and noise behind it: no request
    contains more of A's prompt than B could know."""
    base = {"max_tokens": 1, "temperature": 0, "ignore_eos": True, **more}
    yield {**base, "prompt": LEAD + NOISE}
    for pin in PINS[:2]:
        for i in range(len(pin)):
            for digit in "0123456789":
                yield {**base, "prompt": LEAD + pin[:i] + digit + NOISE}


def posts(path, bodies):
    return [("POST", path, b) for b in bodies]


def chat_guesses():
    return [
        {"messages": [{"role": "user", "content": g["prompt"]}], "max_tokens": 1, "temperature": 0} for g in guesses()
    ]


def batches():
    """All ten digits of a place in one request, and one prompt with n choices."""
    g = list(guesses())
    out = [{**g[0], "prompt": [x["prompt"] for x in g[k : k + 10]]} for k in range(1, len(g), 10)]
    return out + [{**x, "n": 2, "temperature": 1, "seed": 5} for x in g]


def errors():
    """Requests that fail at each stage, after as much work as possible."""
    out = []
    for g in guesses():
        out += [
            {**g, "max_tokens": 70000},
            {**g, "prompt": [g["prompt"], ""]},
            {**g, "prompt": [g["prompt"], 5]},
            {**g, "n": 100000},
            {**g, "model": "nope"},
            {**g, "logprobs": 21},
        ]
    return out


VARIANTS = {
    "plain": lambda: posts("/v1/completions", guesses()),
    "streaming": lambda: posts(
        "/v1/completions", guesses(stream=True, stream_options={"include_usage": True, "continuous_usage_stats": True})
    ),
    "n and batches": lambda: posts("/v1/completions", batches()),
    "embeddings": lambda: posts("/v1/embeddings", ({"input": g["prompt"]} for g in guesses())),
    "echo": lambda: (
        posts("/v1/completions", guesses(echo=True))
        + posts("/v1/completions", ({**g, "max_tokens": 0, "logprobs": 1} for g in guesses(echo=True)))
    ),
    "explain": lambda: [
        x
        for i, g in enumerate(guesses())
        for x in (
            ("POST", "/v1/completions", g),
            ("GET", f"/v1/requests/of-b-{3 * i}/explain", None),
            ("GET", "/v1/requests/of-a-1/explain", None),
        )
    ],
    "errors": lambda: posts("/v1/completions", errors()),
    "cache_salt": lambda: posts(
        "/v1/completions",
        ({**g, "cache_salt": salt} for g in guesses() for salt in ("", "a", "tenant-a", A, "salt-of-a")[1:]),
    ),
    "logprobs": lambda: (
        posts("/v1/completions", guesses(logprobs=20))
        + posts("/v1/chat/completions", ({**g, "logprobs": True, "top_logprobs": 20} for g in chat_guesses()))
    ),
    "other roads": lambda: (
        posts("/v1/chat/completions", chat_guesses())
        + posts("/tokenize", ({"prompt": g["prompt"]} for g in guesses()))
        + posts("/v1/responses", ({"input": g["prompt"], "max_output_tokens": 16} for g in guesses()))
        + posts(
            "/v1/messages",
            ({"messages": [{"role": "user", "content": g["prompt"]}], "max_tokens": 1} for g in guesses()),
        )
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_transcripts_are_equal(keys, name):
    with worlds(keys, salt="salt-of-a" if name == "cache_salt" else None) as (one, two, none):
        probes = VARIANTS[name]()
        a, b, c = (transcript(s, probes) for s in (one, two, none))
        told = [i for i in range(len(probes)) if not a[i] == b[i] == c[i]]
        print(f"{name}: {len(probes)} probes, {len(told)} told something")
        assert not told, f"probe {told[0]}: {probes[told[0]]}\n{a[told[0]]}\n{b[told[0]]}\n{c[told[0]]}"


def cached(answer):
    usage = json.loads(events(answer.body)[-2])["usage"] if answer.body.startswith(b"data:") else answer.json()["usage"]
    return usage["prompt_tokens_details"]["cached_tokens"]


def recover(s, key, more=None):
    """The attack as it was reported: the digit whose probe hits one token more. None where no digit stands out."""
    pin, n = "", 0
    with s.conn(60) as c:
        for _ in range(4):
            hits = {}
            for d in random.Random(len(pin)).sample("0123456789", 10):
                body = {"prompt": LEAD + pin + d + NOISE + str(n), "max_tokens": 1, "temperature": 0, **(more or {})}
                hits[d] = cached(c.ask("POST", "/v1/completions", body, key=key))
                n += 1
            best = max(hits.values())
            names = [d for d in hits if hits[d] == best]
            if len(names) != 1 or best <= len(LEAD + pin):
                return pin or None, n
            pin += names[0]
    return pin, n


@pytest.mark.parametrize(
    "more", [{}, {"stream": True, "stream_options": {"include_usage": True}}, {"n": 2}, {"echo": True}]
)
def test_the_attack_recovers_nothing(keys, more):
    with serve(f"auth.api_keys_file={keys}") as s:
        victim(s, PINS[0])
        pin, n = recover(s, B, more)
        print(f"B recovers {pin} in {n} requests")
        assert pin is None, f"B recovered {pin} of A's PIN in {n} requests"


def test_the_cache_still_works_for_its_owner(keys):
    with serve(f"auth.api_keys_file={keys}") as s:
        body = {"prompt": "x" * 100, "max_tokens": 1, "temperature": 0}
        got = [cached(s.post("/v1/completions", body, key=k)) for k in (A, A, B, B)]
        assert got[0] == got[2] == 0 and got[1] == got[3] >= 90
        salted = [cached(s.post("/v1/completions", {**body, "cache_salt": "s"}, key=k)) for k in (A, A, B, B)]
        assert salted == got


def test_metrics_do_not_count_hits_for_b(keys):
    """/metrics needs no key by default: B's probes must not move its hit counters depending on A's text."""
    with worlds(keys) as servers:
        seen = []
        for s in servers:
            before = s.metrics()
            transcript(s, VARIANTS["plain"]())
            after = s.metrics()
            seen.append(
                {
                    k: v - before.get(k, 0)
                    for k, v in after.items()
                    if re.search("cache|hit|prompt_tokens|query|queries", k)
                    and not re.search("perc|free|pages|bytes", k)
                }
            )
        assert seen[0] == seen[1] == seen[2]


def auc(xs, ys):
    """The share of pairs in which x is the smaller one: 0.5 when they are alike."""
    ranked = sorted([(x, 0) for x in xs] + [(y, 1) for y in ys])
    later, pairs = len(ys), 0
    for _, which in ranked:
        if which:
            later -= 1
        else:
            pairs += later
    return pairs / (len(xs) * len(ys))


def test_timing_tells_nothing(keys):
    """B asks for documents that A sent a moment ago, and for others of the same kind, in random order."""
    n = int(os.environ.get("QUIRE_WIRE_PROBES", "2000")) // 2
    rng = random.Random(3)
    times = {True: [], False: []}
    with serve(f"auth.api_keys_file={keys}") as s, s.conn() as a, s.conn() as b:
        for _ in range(n):
            docs = {seen: "".join(rng.choices("abcdefghij", k=400)) for seen in (True, False)}
            assert (
                a.ask(
                    "POST", "/v1/completions", {"prompt": docs[True], "max_tokens": 1, "temperature": 0}, key=A
                ).status
                == 200
            )
            for seen in rng.sample([True, False], 2):
                data = request(
                    "POST", "/v1/completions", {"prompt": docs[seen] + "?", "max_tokens": 1, "temperature": 0}, key=B
                )
                t = time.perf_counter()
                b.send(data)
                assert b.answer().status == 200
                times[seen].append(time.perf_counter() - t)
    told = auc(times[True], times[False])
    mid = {k: sorted(v)[n // 2] * 1e3 for k, v in times.items()}
    print(f"{2 * n} probes: median {mid[True]:.3f} ms seen by A, {mid[False]:.3f} ms not; AUC {told:.3f}")
    assert abs(told - 0.5) < max(0.03, 4.5 * (1 / (6 * n)) ** 0.5), "B can tell by time what A has sent"


@pytest.mark.parametrize("priority", [None, -1, 5])
def test_a_light_key_does_not_wait_for_a_heavy_one(keys, priority):
    """60 streams of A on 16 rows; B's first token comes within five decode steps (its wait alone added)."""
    with serve(f"auth.api_keys_file={keys}", "scheduler.max_seqs=16") as s:

        def first_ms():
            with s.conn(5) as c:
                t = time.perf_counter()
                c.send(request("POST", "/v1/completions", {"prompt": "light", "max_tokens": 1, "stream": True}, key=B))
                try:
                    c.fill()
                except TimeoutError:
                    pass
                return (time.perf_counter() - t) * 1e3

        first_ms()
        alone = sorted(first_ms() for _ in range(20))[10]
        heavy = [s.conn() for _ in range(60)]
        more = {} if priority is None else {"priority": priority}
        for c in heavy:
            c.send(
                request(
                    "POST",
                    "/v1/completions",
                    {"prompt": "heavy", "max_tokens": 4000, "ignore_eos": True, **more},
                    key=A,
                )
            )
        time.sleep(0.3)
        t, made = time.monotonic(), s.metrics()["vllm:generation_tokens_total"]
        time.sleep(0.5)
        per_s = (s.metrics()["vllm:generation_tokens_total"] - made) / (time.monotonic() - t)
        step_ms = 16 / max(per_s, 1) * 1e3
        first = first_ms()
        light = sorted(first_ms() for _ in range(9 if first < 1000 else 1))
        for c in heavy:
            c.close()
        mid = light[len(light) // 2]
        print(
            f"priority {priority}: alone {alone:.1f} ms, step {step_ms:.1f} ms, beside the heavy key {first:.1f} ms, then {mid:.1f} ms"
        )
        assert first <= alone + 5 * step_ms + 20 and mid <= alone + 5 * step_ms + 2
