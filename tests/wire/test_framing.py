# SPDX-License-Identifier: Apache-2.0
"""Framing: no byte string makes the server execute what no strict reader sees in it.

Every case of framing_cases.py is sent as the first request of a connection, as a later one, and behind
a good one in the same write; each time with one more request behind it that carries an id. Then seeded
mutations of good requests, judged by the strict reader in strict.py. Each answer is one well-formed JSON
answer; after a bad request it says "Connection: close", and nothing more is executed.
"""

import collections
import concurrent.futures as cf
import random
import re
import time

import pytest

import framing_cases as fc
from rig import Conn, ProtocolError, request, serve, table
import strict

PLACES = ("first", "later", "pipelined")
COLUMNS = ("right", "hidden", "html", "doubled", "silent", "stays", "status", "refused")
SECONDS = 3
STATUS_LINE = re.compile(rb"HTTP/1\.1 \d\d\d ")


@pytest.fixture(scope="module")
def server():
    with serve("http.header_timeout=5s", "http.body_timeout=5s") as s:
        yield s
        assert s.alive(), "the server died of a request"


def good(name):
    return request("POST", "/tokenize", {"prompt": "x"}, [("X-Request-Id", name)])


def last(name):
    return request("GET", "/version", headers=[("X-Request-Id", name), ("Connection", "close")])


def read_all(conn, data, want_end=True, quiet=None):
    """Send; then every answer until the server closes. -> (answers, raw bytes, how it ended)"""
    conn.send_quietly(data)
    raw, answers, how = b"", [], "closed"
    until = time.monotonic() + SECONDS
    try:
        while conn.fill(min(until, time.monotonic() + quiet) if quiet else until):
            pass
    except TimeoutError:
        how = "open"
    raw = conn.buf
    conn.timeout = 0.01
    try:
        while conn.buf:
            answers.append(conn.answer())
    except (ProtocolError, EOFError, TimeoutError, ValueError):
        how = "garbage"
    return answers, raw, how


def plain_faults(answers, raw, how):
    """What is wrong with any sequence of answers, whatever was asked."""
    if b"<html" in raw.lower():
        return "html"
    if len(STATUS_LINE.findall(raw)) > len(answers) or how == "garbage":
        return "doubled"
    for a in answers:
        if (a.body and a.get("content-type") != "application/json") or not a.get("x-request-id"):
            return "html"
        if a.status >= 400 and set(a.json()) != {"error"}:
            return "status"
    return None


def judge(case, answers, raw, how, tail):
    """One of COLUMNS for the answers to case + tail (a request whose id is `tail`)."""
    fault = plain_faults(answers, raw, how)
    if fault == "html":
        return fault
    ran = any(a.get("x-request-id") == tail for a in answers)
    if case.end == fc.CLOSE and ran:
        return "hidden"
    if fault:
        return fault
    if not answers:
        return "silent" if how == "closed" else "stays"
    got = [a for a in answers if a.get("x-request-id") != tail]
    if ran and answers[-1].get("x-request-id") != tail or len(got) > len(case.want):
        return "hidden"
    for a, want in zip(got, case.want):
        if a.status not in want:
            return "refused" if case.end == fc.KEEP and a.status in (400, 431, 413) else "status"
    if case.end == fc.KEEP and not ran and not (got and got[-1].closes and how == "closed"):
        return "refused"
    if not ran and how == "open":
        return "stays"
    if not ran and not answers[-1].closes:
        return "silent" if len(got) < len(case.want) else "stays"
    return "right"


def run_case(port, case, place, number):
    tail, name = f"hidden-{number}", f"good-{number}"
    with Conn(port, timeout=SECONDS) as c:
        lead = b""
        if place == "later":
            c.send(good(name))
            assert c.answer().status == 200
        elif place == "pipelined":
            lead = good(name)
        answers, raw, how = read_all(c, lead + case.data + last(tail))
    if place == "pipelined":
        if not answers or answers[0].get("x-request-id") != name or answers[0].status != 200:
            return plain_faults(answers, raw, how) or "silent", raw
        if answers[0].closes:  # a server may end the connection after any answer, if it says so
            return "right" if len(answers) == 1 and how == "closed" else "hidden", raw
        raw = raw[raw.find(b"HTTP/1.1 ", 1) :] if len(answers) > 1 else b""
        answers = answers[1:]
    return judge(case, answers, raw, how, tail), raw


def test_matrix(server):
    jobs = [(case, place) for case in fc.CASES for place in PLACES]
    assert len(fc.CASES) >= 140
    t = time.monotonic()
    with cf.ThreadPoolExecutor(16) as ex:
        got = list(ex.map(lambda j: run_case(server.port, j[1][0], j[1][1], j[0]), enumerate(jobs)))
    count = collections.Counter((place, verdict) for (_, place), (verdict, _) in zip(jobs, got))
    table(
        f"{len(fc.CASES)} cases, {time.monotonic() - t:.1f} s",
        ["place", *COLUMNS],
        [[p, *(count[p, c] for c in COLUMNS)] for p in PLACES],
    )
    faults = [
        f"{verdict:8} {place:9} {case.name}: {raw[:110]!r}"
        for (case, place), (verdict, raw) in zip(jobs, got)
        if verdict != "right"
    ]
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults)


def test_strict_reader_agrees_with_the_table():
    """The table and the second reader were written apart; they must not contradict each other."""
    for c in fc.CASES:
        ids, how = strict.read(c.data + last("hidden"))
        ran = "hidden" in ids
        if c.end == fc.KEEP:
            assert ran and how == "clean", c.name
        elif c.end == fc.CLOSE and not re.search("endless|X-A|yyyy|XXXX|MMMM|%zz", c.name):
            assert not ran and how in ("bad", "more"), (c.name, ids, how)


ALPHABET = [
    b"\n",
    b"\r",
    b"\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"0",
    b"1",
    b"5",
    b"e",
    b"f",
    b"-",
    b"+",
    b"x",
    b"\x7f",
    b"\x0b",
    b"\x80",
    b'"',
    b"\\",
    b"=",
    b"/",
    b"%",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"0\r\n\r\n",
    b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n",
]


def mutate(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        i, what = rng.randrange(len(data)), rng.randrange(4)
        if what == 0:
            data[i : i + 1] = rng.choice(ALPHABET)
        elif what == 1:
            data[i:i] = rng.choice(ALPHABET)
        elif what == 2:
            del data[i : i + rng.choice((1, 1, 2, 5))]
        else:
            j = rng.randrange(len(data))
            data[i:i] = data[j : j + rng.randrange(1, 24)]
    return bytes(data)


def sample(rng, n):
    """Two or three good requests of several kinds, and the one that must stay apart."""
    out = b""
    for i in range(rng.choice((1, 2))):
        ident = [("X-Request-Id", f"m{n}-{i}")]
        kind = rng.randrange(3)
        if kind == 0:
            out += request("GET", "/version", headers=ident)
        elif kind == 1:
            out += request("POST", "/tokenize", {"prompt": "x"}, ident)
        else:
            out += (
                b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Request-Id: m%d-%d\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
                % (n, i)
                + fc.good_chunks()[:-2]
                + rng.choice((b"\r\n", b"X: y\r\n\r\n"))
            )
    return out


def judge_mutation(data, answers, raw, how):
    ids, end = strict.read(data)
    fault = plain_faults(answers, raw, how)
    if fault or end == "unsure":
        return fault
    for i, a in enumerate(answers[: len(ids)]):
        if ids[i] is not None and a.get("x-request-id") != ids[i]:
            return "hidden"
        if a.closes and i + 1 < len(answers):
            return "hidden"
    extra = answers[len(ids) :]
    if len(answers) < len(ids) and not (answers and answers[-1].closes):
        return "silent"
    if len(extra) > (end != "clean") or any(a.status < 400 or not a.closes for a in extra):
        return "hidden"
    if end == "bad" and not extra and not (answers and answers[-1].closes):
        return "silent"
    return None


def test_mutations(server):
    rng = random.Random(20261126)
    texts = [mutate(rng, sample(rng, n)) + last(f"hidden-{n}") for n in range(4000)]
    end = time.monotonic() + 25

    def one(data):
        if time.monotonic() > end:
            return "late", b""
        if strict.read(data)[1] in ("more", "unsure"):
            with Conn(server.port) as c:  # nothing says when it is over
                got = read_all(c, data, quiet=0.08)
        else:
            with Conn(server.port) as c:
                got = read_all(c, data)
        return judge_mutation(data, *got), got[1]

    t = time.monotonic()
    with cf.ThreadPoolExecutor(16) as ex:
        got = list(ex.map(one, texts))
    count = collections.Counter(v or "right" for v, _ in got)
    table(f"mutations, {time.monotonic() - t:.1f} s", list(count), [list(count.values())])
    faults = [
        f"{v:8} {data!r}\n         -> {raw[:200]!r}" for data, (v, raw) in zip(texts, got) if v not in (None, "late")
    ]
    assert count["right"] + len(faults) >= 1000, "too few fitted into the time"
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults[:20])


def test_pipelined_requests_are_answered_in_order(server):
    with server.conn() as c:
        c.send(good("a") + good("b") + last("c"))
        assert [c.answer().get("x-request-id") for _ in "abc"] == ["a", "b", "c"]
        assert c.ended()


def test_thousand_requests_on_one_connection(server):
    with server.conn() as c:
        for i in range(1000):
            a = (
                c.ask("GET", "/version", headers=[("X-Request-Id", f"k{i}")])
                if i % 3
                else c.ask("POST", "/tokenize", {"prompt": "x"}, [("X-Request-Id", f"k{i}")])
            )
            assert (a.status, a.get("x-request-id"), a.closes) == (200, f"k{i}", False)


def test_a_head_in_pieces_is_the_same_head(server):
    """Byte by byte, first and later: the judgement does not depend on how the bytes arrive."""
    for bad in (b"GET /version HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n", b"GET /version HTTP/1.1\nHost: x\r\n\r\n"):
        for later in (False, True):
            with server.conn() as c:
                if later:
                    assert c.ask("GET", "/version").status == 200
                for i in range(len(bad)):
                    c.send_quietly(bad[i : i + 1])
                    time.sleep(0.001)
                a = c.answer()
                assert a.status == 400 and a.closes and a.error["code"] == "bad_request"
                assert c.ended()
    with server.conn() as c:
        for _ in range(2):
            for b in good("slowly"):
                c.send(bytes([b]))
            assert c.answer().status == 200
