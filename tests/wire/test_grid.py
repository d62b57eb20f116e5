# SPDX-License-Identifier: Apache-2.0
"""The grid of request fields (grid_cases.py): status, code and param of every case, and the shape of every answer."""

import collections
import concurrent.futures as cf
import json
import re
import time

import pytest

import grid_cases as gc
import grid_rows as gr
from rig import Conn, events, request, serve, table

KEYS = {
    gr.TEXT: {"id", "object", "created", "model", "system_fingerprint", "choices", "usage"},
    gr.CHAT: {"id", "object", "created", "model", "system_fingerprint", "choices", "usage"},
}
SECRET = "xyzzy-plugh-4711"


@pytest.fixture(scope="module")
def server():
    with serve(f"model.max_model_len={gr.MAX_LEN}", "scheduler.max_seqs=256", "limits.queue_size=1024") as s:
        yield s
        assert s.alive()


def shape(a, path):
    """What every answer must be, whatever was asked (E-1 to E-3, 6.2, 7.3, S-3)."""
    if not a.get("x-request-id") or not a.get("date"):
        return "headers"
    if a.status == 200 and (a.get("content-type") or "").startswith("text/event-stream"):
        ev = events(a.body)
        if ev[-1] != b"[DONE]" or any("error" in json.loads(e) for e in ev[:-1]):
            return "stream"
        return None
    if a.get("content-type") != "application/json":
        return "content type"
    body = a.json()
    if a.status == 200:
        return None if KEYS[path] <= set(body) else "missing keys"
    e = body["error"]
    if set(body) != {"error"} or set(e) != {"message", "type", "param", "code"}:
        return "error object"
    if (
        not isinstance(e["message"], str)
        or not 0 < len(e["message"].encode()) <= 1024
        or re.search(r"[\x00-\x1f\x7f]", e["message"])
    ):
        return "message"
    if e["type"] != "invalid_request_error" or not isinstance(e["code"], str):
        return "type or code"
    return None


def judge(case, a):
    """None, or what was got instead."""
    wrong = shape(a, case.path)
    if wrong:
        return f"bad {wrong}"
    if a.status != case.status:
        return f"{a.status}" + (f" {a.error['code']} {a.error['param']}" if a.status >= 400 else "")
    if a.status >= 400:
        e = a.error
        if case.codes and e["code"] not in case.codes:
            return f"code {e['code']}"
        if case.param is not None and e["param"] != case.param:
            return f"param {e['param']}"
    return None


def run(server, cases, seconds):
    """Answers to all cases over eight kept connections; (case, fault) of each."""
    end = time.monotonic() + seconds

    def some(k):
        out, c = [], Conn(server.port, 20)
        for case in cases[k::8]:
            if time.monotonic() > end:
                break
            try:
                a = c.ask("POST", case.path, case.body.encode("utf-8", "surrogatepass"))
                out.append((case, judge(case, a)))
                closed = a.closes
            except (EOFError, OSError, ValueError) as e:
                out.append((case, f"no answer: {e!r}"))
                closed = True
            if closed:
                c.close()
                c = Conn(server.port, 20)
        c.close()
        return out

    with cf.ThreadPoolExecutor(8) as ex:
        return [x for part in ex.map(some, range(8)) for x in part]


def report(title, got, took):
    faults = collections.defaultdict(list)
    for case, fault in got:
        if fault:
            faults[case.field, f"{case.status} {'/'.join(case.codes)} {case.param or ''}".strip(), fault].append(case)
    table(
        f"{title}: {len(got)} cases, {took:.1f} s, {sum(map(len, faults.values()))} wrong",
        ["field", "expected", "got", "cases", "first body"],
        [
            [f, e, g, len(c), c[0].body[:90] + ("…" if len(c[0].body) > 90 else "")]
            for (f, e, g), c in sorted(faults.items())
        ],
    )
    return faults


def test_every_field(server):
    cases = gc.all_cases()
    assert len(cases) >= 3000
    t = time.monotonic()
    got = run(server, cases, 60)
    faults = report("grid", got, time.monotonic() - t)
    assert len(got) == len(cases), f"only {len(got)} of {len(cases)} cases in 60 s"
    assert not faults, f"{sum(map(len, faults.values()))} of {len(cases)} cases are wrong (the table is above)"


def test_unknown_fields_can_be_refused():
    with serve("http.unknown_fields=reject") as s:
        cases = [
            gc.Case("unknown", p, gc.body_of(p, n, v), 400, gr.UNBUILT, None)
            for p in (gr.TEXT, gr.CHAT)
            for n in gr.UNKNOWN
            for v in ("1", '"s"', "null")
        ]
        cases += [
            gc.Case(r.name, p, gc.body_of(p, r.name, "null"))
            for r in gr.ROWS
            for p, w in ((gr.TEXT, gr.T), (gr.CHAT, gr.C))
            if r.where & w
        ]
        t = time.monotonic()
        assert not report("reject", run(s, cases, 30), time.monotonic() - t)


@pytest.mark.parametrize(
    "field",
    [
        f'"user":"{SECRET}{"a" * 600}"',
        f'"cache_salt":"{SECRET}@"',
        f'"stop":["{SECRET}{"a" * 600}"]',
        f'"prompt":["{SECRET}",5]',
        f'"stop_token_ids":["{SECRET}"]',
        f'"logit_bias":{{"5":"{SECRET}"}}',
        f'"request_id":["{SECRET}"]',
    ],
)
def test_errors_quote_no_content(server, field):
    prompt = "" if field.startswith('"prompt"') else f'"prompt":"{SECRET}",'
    a = server.post(gr.TEXT, ("{" + prompt + field + ',"max_tokens":1}').encode())
    assert a.status == 400 and SECRET.encode() not in a.body


def test_a_huge_fault_gives_a_small_error(server):
    for body in (
        {"prompt": "x", "model": "m" * 100000},
        {"prompt": "x", "stop": ["a"] * 100000},
        {"prompt": "x", "reasoning_effort": 1, "temperature": "9" * 100000},
        {"prompt": [["a" * 100000]]},
    ):
        a = server.post(gr.TEXT, body)
        assert a.status in (400, 404) and len(a.body) < 1400


def test_numbers_in_messages_are_readable(server):
    """A bound is printed as a person writes it, not as 9.00719925474099e+15."""
    for field, value in (
        ("max_tokens", -5),
        ("top_k", -7),
        ("min_tokens", -1),
        ("seed", 1e300),
        ("temperature", 9),
        ("n", 0),
    ):
        message = server.post(gr.TEXT, {"prompt": "x", field: value}).error["message"]
        assert not re.search(r"\de[+-]?\d", message), message


def test_request_bytes_are_what_the_case_says():
    assert b'{"a":1}' in request("POST", "/", b'{"a":1}')
