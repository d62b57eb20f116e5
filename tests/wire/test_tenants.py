# SPDX-License-Identifier: Apache-2.0
"""Two tenants: what one prompts is no business of the other (the PIN attack and its variants), whether they are
two keys of the keys file, two tenants with a name, or a tenant beside a cache group. Then their limits.

Each variant is a script of probes by B. It runs against servers that differ in one thing only: which PIN
was in A's prompt, or that A never asked. B learns nothing if the whole transcripts (status, headers, body,
but for ids, dates and times) are equal. The attack itself runs, too, so that a failure shows what leaks.
Time is compared statistically: QUIRE_WIRE_PROBES probes (1,000; the full run has 10,000). QUIRE_WIRE_FULL=1 runs
every variant against every kind of tenants; else the kinds take turns.
"""

import contextlib
import hashlib
import json
import os
import random
import re
import signal
import time

import pytest

from rig import events, request, run_to_end, serve

# ctest sets it: its tests do not depend on time that they measure
timed = pytest.mark.skipif("QUIRE_WIRE_UNTIMED" in os.environ, reason="measures time; run by hand")
A, B = "key-of-a-0123456789", "key-of-b-0123456789"
LEAD = "Account PIN of customer Miller: "
PINS = ("8351", "2749", None)
NOISE = "~" * 24


def hashed(key):
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def by_name(**fields):
    """A tenants file: NAME={field: value}; YAML takes JSON as it is."""
    return json.dumps({"tenants": fields})


# Whom A and B are: the setting, and the file's text. In the groups A shares its cache with a third one.
KINDS = {
    "keys": ("auth.api_keys_file", f"# two tenants\n{A}\n{B}\n"),
    "names": ("auth.tenants_file", by_name(anna={"keys": [hashed(A)]}, bert={"keys": [B], "weight": 4})),
    "groups": (
        "auth.tenants_file",
        by_name(
            anna={"keys": [A], "cache_group": "a", "cache_share": 0.5},
            anton={"keys": ["a-third-key"], "cache_group": "a"},
            bert={"keys": [hashed(B)], "cache_group": "b"},
            berta={"keys": ["a-fourth-key"], "cache_group": "b"},
        ),
    ),
}


def setting(folder, kind, text=None):
    name, default = KINDS.get(kind, (kind, None))
    path = folder / f"{kind}.yaml"
    path.write_text(text or default)
    path.chmod(0o600)
    return f"{name}={path}"


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return {k: setting(folder, k) for k in KINDS}


@pytest.fixture(scope="module", params=KINDS)
def keys(kinds, request):
    return kinds[request.param]


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
            s = stack.enter_context(serve(keys, *settings))
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
    """All ten digits of a place in one request, and one prompt with n choices. B's own beginning goes first: what
    prompts of one batch find of each other is a matter of time, not of A."""
    g = list(guesses())
    out = [g[0]] + [{**g[0], "prompt": [x["prompt"] for x in g[k : k + 10]]} for k in range(1, len(g), 10)]
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
        + posts("/v1/responses", ({"input": g["prompt"], "max_output_tokens": 16, "temperature": 0} for g in guesses()))
        + posts(
            "/v1/messages",
            ({"messages": [{"role": "user", "content": g["prompt"]}], "max_tokens": 1, "temperature": 0} for g in guesses()),
        )
    ),
}


def variants():
    """Each variant with each kind of tenants in the full run, else with one or the other."""
    every = [(v, k) for v in VARIANTS for k in KINDS]
    return every if os.environ.get("QUIRE_WIRE_FULL") else [
        (v, list(KINDS)[i % len(KINDS)]) for i, v in enumerate(VARIANTS)
    ]


@pytest.mark.parametrize("name,kind", variants())
def test_transcripts_are_equal(kinds, name, kind):
    keys = kinds[kind]
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
    with serve(keys) as s:
        victim(s, PINS[0])
        pin, n = recover(s, B, more)
        print(f"B recovers {pin} in {n} requests")
        assert pin is None, f"B recovered {pin} of A's PIN in {n} requests"


def test_the_cache_still_works_for_its_owner(keys):
    with serve(keys) as s:
        body = {"prompt": "x" * 100, "max_tokens": 1, "temperature": 0}
        got = [cached(s.post("/v1/completions", body, key=k)) for k in (A, A, B, B)]
        assert got[0] == got[2] == 0 and got[1] == got[3] >= (80 if "groups" in keys else 90)
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


@timed
def test_timing_tells_nothing(kinds):
    """B asks for documents that A sent a moment ago, and for others of the same kind, in random order."""
    n = int(os.environ.get("QUIRE_WIRE_PROBES", "1000")) // 2
    rng = random.Random(3)
    times = {True: [], False: []}
    with serve(kinds["names"]) as s, s.conn() as a, s.conn() as b:
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


def test_a_group_tells_whole_pages(kinds):
    """Who shares a cache on purpose still sees no single token of a neighbour's: the attack needs all of a page."""
    with serve(kinds["groups"]) as s:
        victim(s, PINS[0])
        pin, n = recover(s, "a-third-key")
        assert pin is None, f"a neighbour recovered {pin} in {n} requests"
        shared = {"prompt": f"{LEAD}{PINS[0]}. Please keep it to yourself, or not", "max_tokens": 1}
        assert cached(s.post("/v1/completions", shared, key="a-third-key")) in (32, 48, 64)
        assert cached(s.post("/v1/completions", shared, key=B)) == 0


@timed
@pytest.mark.parametrize("priority", [None, -1, 5])
def test_a_light_key_does_not_wait_for_a_heavy_one(tmp_path, priority):
    """60 streams of A, which may ask for priorities down to -5, on 16 rows; B's first token comes within five
    decode steps (its wait alone added)."""
    text = by_name(heavy={"keys": [A], "min_priority": -5}, light={"keys": [hashed(B)]})
    with serve(setting(tmp_path, "auth.tenants_file", text), "scheduler.max_seqs=16") as s:

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
        light = sorted(first_ms() for _ in range(40 if first < 1000 else 1))
        for c in heavy:
            c.close()
        mid, best = light[len(light) // 2], light[0]
        print(
            f"priority {priority}: alone {alone:.1f} ms, step {step_ms:.1f} ms, beside the heavy key {first:.1f} ms, then {best:.1f} to {mid:.1f} ms"
        )
        # The machine may be busy, and hands its processors out for milliseconds: the best of many. How many
        # steps each takes is for tests/engine/test_policy.c (test_light_beside_heavy).
        assert made > 0 and first < 1000 and best <= alone + 5 * step_ms + 2


# ---- what a tenant may use ----

LIMITED = by_name(
    anna={"keys": [hashed(A)], "max_requests": 3, "max_seqs": 1, "tokens_per_minute": 6000},
    bert={"keys": [B]},
    root={"keys": ["key-of-root"], "operator": True},
)


def tenant_series(s, key):
    out = {}
    for line in s.ask("GET", "/metrics", key=key).body.decode().splitlines():
        m = re.match(r'(quire_tenant_\w+)\{tenant="(\w+)"\} (\S+)', line)
        if m:
            out[m[1], m[2]] = float(m[3])
    return out


def test_limits_and_numbers(tmp_path):
    """A has three requests in flight, one of them running; its fourth is a 429 that names no tenant; B is not
    touched; tokens run out and come back; the log says whose a request was, and never a key."""
    with serve(setting(tmp_path, "auth.tenants_file", LIMITED)) as s:
        body = {"prompt": "x", "max_tokens": 1500, "ignore_eos": True, "stream": True}
        three = [s.conn() for _ in range(3)]
        for c in three:
            c.send(request("POST", "/v1/completions", body, key=A))
        while tenant_series(s, "key-of-root")["quire_tenant_requests_running", "anna"] < 3:
            time.sleep(0.005)
        assert s.metrics()["quire_requests_running"] <= 1  # max_seqs: the others wait, not refused
        a = s.post("/v1/completions", body, key=A)
        assert (a.status, a.error["code"], a.error["type"]) == (429, "rate_limit_exceeded", "rate_limit_error")
        assert 1 <= int(a.get("retry-after")) <= 60
        assert not re.search("anna|bert|root|key-of", a.error["message"])
        assert s.post("/v1/completions", {"prompt": "y", "max_tokens": 2}, key=B).status == 200
        for c in three:
            c.timeout = 60
            assert c.answer().status == 200
            c.close()
        made = tenant_series(s, "key-of-root")
        assert made["quire_tenant_generation_tokens_total", "anna"] == 4500
        assert made["quire_tenant_refusals_total", "anna"] == 1
        a = s.post("/v1/completions", {**body, "stream": False, "max_tokens": 2500}, key=A)
        assert a.status == 200  # into debt
        a = s.post("/v1/completions", {"prompt": "x", "max_tokens": 1}, key=A)
        assert a.status == 429 and "tokens per minute" in a.error["message"]
        assert 1 <= int(a.get("retry-after")) <= 60
        assert {t for _, t in tenant_series(s, A)} == {"anna"} and not tenant_series(s, None)
        assert {t for _, t in tenant_series(s, "key-of-root")} == {"anna", "bert", "root"}
        s.proc.send_signal(signal.SIGUSR2)
        end = time.monotonic() + 10
        while "api.tenant" not in s.log() and time.monotonic() < end:
            time.sleep(0.01)
        log = s.log()
        assert re.search(r"api\.tenant.* tenant=anna .*requests=0 .*refused=2 ", log)
        assert re.search(r"http\.request.* tenant=anna .*status=429", log)
        assert re.search(r"http\.request.* tenant=bert .*status=200", log)
        assert not any(k in log for k in (A, B, "key-of-root", hashed(A)[7:]))


def test_a_request_that_leaves_is_charged(tmp_path):
    with serve(setting(tmp_path, "auth.tenants_file", LIMITED)) as s:
        for _ in range(5):
            with s.conn() as c:
                c.send(request("POST", "/v1/completions", {"prompt": "x" * 50, "max_tokens": 4000, "stream": True}, key=A))
                c.fill()
        end = time.monotonic() + 10
        while tenant_series(s, "key-of-root")["quire_tenant_requests_running", "anna"] and time.monotonic() < end:
            time.sleep(0.01)
        made = tenant_series(s, "key-of-root")
        assert made["quire_tenant_requests_running", "anna"] == 0
        assert made["quire_tenant_prompt_tokens_total", "anna"] >= 250
        assert 5 <= made["quire_tenant_generation_tokens_total", "anna"] < 20000


@pytest.mark.parametrize("check", [(), ("--check-config",)])
@pytest.mark.parametrize(
    "text,line",
    [
        (f"tenants:\n  anna: {{keys: [{A}]}}\n  bert: {{keys: [{hashed(A)}]}}\n", 3),
        (f"tenants:\n  anna: {{keys: [{A}]}}\n  anna: {{keys: [{B}]}}\n", 3),
        (f"tenants:\n  anna:\n    keys: [{A}]\n    wheight: 3\n", 4),
        (f"tenants:\n  anna:\n    keys: [{A}]\n    weight: 0\n", 4),
        ("tenants:\n  anna:\n    keys: ['']\n", 3),
        ("tenants:\n  anna:\n    weight: 3\n", 2),
    ],
)
def test_a_file_with_a_fault_is_refused(tmp_path, text, line, check):
    where = setting(tmp_path, "auth.tenants_file", text)
    code, out = run_to_end(where, args=check)
    assert code == 78 and f"auth.tenants_file.yaml:{line}:" in out and A not in out and B not in out, out


def test_print_config_shows_no_key(tmp_path):
    code, out = run_to_end(setting(tmp_path, "auth.tenants_file", KINDS["names"][1]), args=("--print-config",))
    assert code == 0 and "tenants_file" in out and A not in out and B not in out and hashed(A)[7:] not in out
