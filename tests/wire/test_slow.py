# SPDX-License-Identifier: Apache-2.0
"""Clients that are slow, idle or gone, with small time limits: who makes progress is served, who makes
none is gone at his deadline, and nobody else notices.

QUIRE_WIRE_FULL=1 runs the crowd in full size (2,000 slow heads, 500 slow bodies, 500 streams that nobody
reads, 4,096 idle connections) instead of a tenth of it.
"""

import collections
import contextlib
import json
import os
import socket
import time

import pytest

import tiny
from rig import Conn, events, request, serve, table
from slow_rig import Drip, connect, first_token_ms, percentile, raise_fd_limit, read_all

FULL = os.environ.get("QUIRE_WIRE_FULL") == "1"
TOKENS = 8000
ASK = {"prompt": "speed", "max_tokens": TOKENS, "temperature": 0, "ignore_eos": True, "logprobs": 20, "stream": True}


def whole(body):
    """All of the stream came: tokens, finish reason, [DONE]."""
    ev = events(body)
    assert ev[-1] == b"[DONE]"
    chunks = [json.loads(e) for e in ev[:-1]]
    assert not [c for c in chunks if "error" in c]
    tokens = [t for c in chunks for t in c["choices"][0]["logprobs"]["tokens"]]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    return tokens


def read_slowly(s, ask, at_once, pause_s, rcvbuf=None, stall_s=0.0):
    """The body of a stream whose reader takes `at_once` bytes, then sleeps."""
    c = Conn.__new__(Conn)
    c.sock, c.timeout, c.buf, c.reset = connect(s.port, rcvbuf), 30, b"", False
    with c:
        c.send(request("POST", "/v1/completions", ask))
        raw = b""
        while not raw.endswith(b"\r\n0\r\n\r\n"):
            got = c.sock.recv(at_once)
            if not got:
                raise AssertionError(f"cut after {len(raw)} bytes: ...{raw[-300:]!r}")
            raw += got
            if stall_s and len(raw) > 50000:
                time.sleep(stall_s)
                stall_s = 0
            elif pause_s:
                time.sleep(pause_s)
        c.buf = raw
        return c.answer().body


@pytest.fixture(scope="module")
def plain():
    with serve("http.write_timeout=2s") as s:
        s.expected = s.post("/v1/completions", {**ASK, "stream": False}).json()["choices"][0]["logprobs"]["tokens"]
        yield s
        assert s.alive()


def test_a_reading_client_is_never_cut(plain):
    for _ in range(3 if FULL else 1):
        with plain.conn(60) as c:
            assert whole(c.ask("POST", "/v1/completions", ASK).body) == plain.expected


@pytest.mark.parametrize("at_once,pause_s,rcvbuf", [(65536, 0.02, None), (16384, 0.005, 8192), (200000, 0.1, None)])
def test_a_slow_reader_gets_all(plain, at_once, pause_s, rcvbuf):
    before = plain.stat()
    t = time.monotonic()
    assert whole(read_slowly(plain, ASK, at_once, pause_s, rcvbuf)) == plain.expected
    print(f"{at_once} bytes a {pause_s * 1e3:.0f} ms: {time.monotonic() - t:.1f} s, {plain.stat() - before:+d} KiB")
    assert plain.stat() - before < 64 << 10


def test_a_pause_below_the_limit_is_forgiven(plain):
    assert whole(read_slowly(plain, ASK, 65536, 0, 8192, stall_s=1.2)) == plain.expected


def test_many_streams_at_once_are_whole(plain):
    """112 streams with logprobs in a crowd: none is cut."""
    ask = {**ASK, "max_tokens": 150}
    conns = [plain.conn(120) for _ in range(112)]
    for c in conns:
        c.send(request("POST", "/v1/completions", ask))
    lost = 0
    for c in conns:
        with c:
            try:
                assert whole(c.answer().body) == plain.expected[:150]
            except (AssertionError, EOFError):
                lost += 1
    assert lost == 0, f"{lost} of 112 streams ended without [DONE]"


def test_a_client_that_reads_nothing_is_cut(plain):
    socks = []
    for _ in range(8):
        socks.append(connect(plain.port, 4096))
        socks[-1].sendall(request("POST", "/v1/completions", {**ASK, "max_tokens": 30000}))
    time.sleep(0.5)
    assert plain.metrics()["quire_http_sequences_live"] == 8
    end = time.monotonic() + 6
    while plain.metrics()["quire_http_sequences_live"] and time.monotonic() < end:
        time.sleep(0.05)
    assert plain.metrics()["quire_http_sequences_live"] == 0, "after three times write_timeout they still run"
    for s in socks:
        s.close()


def probes(s, **kw):
    """What a supervisor, a router and a user see on new connections."""
    out = {}
    for path in ("/live", "/health", "/metrics"):
        with contextlib.suppress(OSError, EOFError):
            out[path] = s.ask("GET", path, timeout=2).status
    with contextlib.suppress(OSError, EOFError):
        out["generation"] = s.post("/v1/completions", {"prompt": "x", "max_tokens": 1}, timeout=2, **kw).status
    return out


GOOD = {"/live": 200, "/health": 200, "/metrics": 200, "generation": 200}


@pytest.mark.parametrize("silent", [False, True])
def test_idle_connections_make_room(silent):
    with serve("http.max_connections=200") as s:
        socks = []
        for _ in range(210 if silent else 200):
            with contextlib.suppress(OSError):
                c = s.conn()
                socks.append(c)
                if not silent:
                    assert c.ask("GET", "/version").status == 200
        for _ in range(5):
            assert probes(s) == GOOD
        for c in socks:
            c.close()


def test_busy_connections_leave_room_for_probes():
    with serve("http.max_connections=40", "scheduler.max_seqs=64") as s:
        socks = [s.conn() for _ in range(40)]
        for c in socks:
            c.send_quietly(request("POST", "/v1/completions", {"prompt": "x", "max_tokens": 60000, "ignore_eos": True}))
        time.sleep(0.3)
        for _ in range(5):
            got = probes(s)
            assert (got.get("/live"), got.get("/health")) == (200, 200), got
        for c in socks:
            c.close()


HEAD = b"GET /version HTTP/1.1\r\nHost: x\r\nX-Long: "
POST = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
DRIPS = {  # first bytes, then one at a time
    "head": (b"G", HEAD[1:] + b"a" * 500),
    "head after the first line": (HEAD, b"a" * 500),
    "empty lines": (b"\r\n", b"\r\n" * 100),
    "body": (POST + b"Content-Length: 1000\r\n\r\n{", b" " * 999),
    "chunk size": (CHUNKED, b"0" * 10),
    "chunks of one byte": (CHUNKED, b"1\r\n \r\n" * 100),
    "chunk extension": (CHUNKED + b"1;", b"a" * 500),
    "trailer": (CHUNKED + b"1\r\n{\r\n0\r\nX: ", b"a" * 500),
}


@pytest.fixture(scope="module")
def strict():
    with serve("http.header_timeout=1s", "http.body_timeout=1s") as s:
        yield s
        assert s.alive()


def test_drips_end_at_their_deadline(strict):
    """One byte every 0.15 s, first and later on a connection. A whole head has header_timeout; a body has
    at most eight times body_timeout, however little by little it comes."""
    drips = {
        (name, later): Drip(strict.port, 3, *what, 0.15, later)
        for name, what in DRIPS.items()
        for later in (False, True)
    }
    end = time.monotonic() + 9
    rows, bad = [], []
    for (name, later), d in drips.items():
        lives = d.wait(max(0, end - time.monotonic()) + time.monotonic() - d.began)
        said = {(v.split(b" ", 2) + [b"", b""])[1].decode() for v in d.said.values()}
        rows.append(
            [name, "later" if later else "first", len(lives), f"{lives[-1]:.1f}" if lives else "-", " ".join(said)]
        )
        limit = 2.5 if "head" in name or "lines" in name else 9
        if len(lives) < 3 or lives[-1] > limit or not said <= {"408", "400", ""}:
            bad.append(rows[-1])
        d.close()
    table("drips", ["what", "place", "gone of 3", "last s", "said"], rows)
    assert not bad, bad


def test_an_honest_upload_takes_its_time(strict):
    """Three times body_timeout for one body at 170 KB/s is no offence, nor is idling between requests."""
    body = json.dumps({"prompt": "x", "max_tokens": 1, "metadata": {"a": "b" * 500000}}).encode()
    with strict.conn() as c:
        c.send(POST + b"Content-Length: %d\r\n\r\n" % len(body))
        for i in range(0, len(body), 17000):
            c.send(body[i : i + 17000])
            time.sleep(0.1)
        assert c.answer().status == 200
        time.sleep(1.5)
        assert c.ask("GET", "/version").status == 200


def test_five_hundred_slow_bodies(strict):
    d = Drip(strict.port, 500, POST + b"Content-Length: 1000\r\n\r\n{", b" " * 999, 0.4)
    time.sleep(0.5)
    assert probes(strict) == GOOD
    lives = d.wait(10)
    d.close()
    assert len(lives) == 500, f"{500 - len(lives)} of 500 live on after ten times body_timeout"


def test_bodies_in_flight_are_bounded():
    """Twenty bodies of 31 MiB, each short of its last byte."""
    size = 31 << 20
    with serve() as s:
        assert s.post("/v1/completions", {"prompt": "x", "max_tokens": 1}).status == 200
        before, answers, socks = s.stat(), [], []
        block = b" " * (1 << 20)
        for _ in range(20):
            c = s.conn(5)
            socks.append(c)
            with contextlib.suppress(OSError):
                c.send(POST + b"Content-Length: %d\r\n\r\n" % size)
                for _ in range(30):
                    c.send(block)
        time.sleep(0.3)
        grown = (s.stat() - before) >> 10
        for c in socks:
            c.timeout = 0.05
            with contextlib.suppress(TimeoutError, EOFError):
                answers.append(c.answer())
        small = s.post("/v1/completions", {"prompt": "x", "max_tokens": 1}).status
        for c in socks:
            c.close()
        time.sleep(0.5)
        kept = (s.stat() - before) >> 10
        print(f"620 MiB unfinished: {grown} MiB held, {kept} MiB after; answers {[a.status for a in answers]}")
        assert small == 200 and s.ask("GET", "/health").status == 200
        assert grown <= 320, f"{grown} MiB"
        assert answers and all(a.status == 503 and a.get("retry-after") for a in answers)
        assert kept <= 64


@pytest.mark.skipif(not FULL, reason="half a minute of computing; QUIRE_WIRE_FULL=1 runs it")
def test_a_long_prefill_is_no_stall(tmp_path):
    """One prompt that takes far longer than the watchdog's 10 s, in one pass if it may: the server is well all along."""
    model = tiny.write(
        tmp_path / "wide",
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=16,
        num_attention_heads=16,
        head_dim=64,
    )
    with serve("cpu.threads=2", "kv.pool_bytes=256MiB", model=model, ready_s=120) as s, s.conn(600) as c:
        c.send(request("POST", "/v1/completions", {"prompt": "x" * 3000, "max_tokens": 1}))
        seen, t = [], time.monotonic()
        c.sock.setblocking(False)
        while time.monotonic() < t + 400:
            seen += [s.ask("GET", p).status for p in ("/live", "/health")]
            with contextlib.suppress(BlockingIOError):
                if c.sock.recv(1, socket.MSG_PEEK):
                    break
            time.sleep(0.1)
        took = time.monotonic() - t
        print(f"prefill of 3,000 tokens: {took:.1f} s, probes {collections.Counter(seen)}")
        assert took > 12, "too fast to tell; make the model larger"
        assert set(seen) == {200}
        c.timeout = 10
        assert c.answer().status == 200


def test_the_crowd():
    """Slow heads, slow bodies, streams that nobody reads, idle connections, all at once."""
    heads, bodies, unread, idle, limit = (2000, 500, 500, 4096, 4096) if FULL else (200, 50, 50, 410, 410)
    if not raise_fd_limit(2 * (heads + bodies + unread + idle) + 200):
        pytest.skip("not enough file descriptors")
    wait = 8 if FULL else 3
    with serve(
        f"http.max_connections={limit}",
        "scheduler.max_seqs=1024",
        "limits.queue_size=1024",
        f"http.write_timeout={wait}s",
        f"http.header_timeout={wait}s",
        f"http.body_timeout={wait * 250}ms",
    ) as s:
        warm = [s.conn(60) for _ in range(unread)]  # what so many streams use of the memory taken at start
        for c in warm:
            c.send(request("POST", "/v1/completions", {**ASK, "max_tokens": 400, "prompt": "all is read"}))
        assert read_all(warm, 120) == unread
        first_token_ms(s, 50)
        base = first_token_ms(s, 200, gap_s=0.002)
        time.sleep(3)
        before = s.stat()
        idlers = []
        for _ in range(idle):
            with contextlib.suppress(OSError):
                idlers.append(s.conn())
                idlers[-1].send_quietly(request("GET", "/version"))
        began = time.monotonic()
        drips = [
            Drip(s.port, heads, HEAD, b"a" * 500, 1.0),
            Drip(s.port, bodies, POST + b"Content-Length: 1000\r\n\r\n{", b" " * 999, 1.0),
        ]
        mute = []
        for _ in range(unread):
            with contextlib.suppress(OSError):
                mute.append(connect(s.port, 4096))
                mute[-1].sendall(
                    request("POST", "/v1/completions", {**ASK, "max_tokens": 400, "prompt": "nobody reads"})
                )
        seen, health, busy, made, end = [], [], [], 0, time.monotonic() + 5
        while time.monotonic() < end:
            busy += first_token_ms(s, 10, gap_s=0.02)  # the model computes for those who do not read
            before_it, made = made, s.metrics()["vllm:generation_tokens_total"]
            if made - before_it <= 10 * 2:
                break  # only for the honest one
        for _ in range(20 if FULL else 8):
            seen += first_token_ms(s, 10, gap_s=0.002)
            health += [s.ask("GET", p, timeout=2).status for p in ("/health", "/live")]
        seen.sort()
        busy.sort()
        cut = s.metrics()["quire_http_slow_readers_total"]
        lives = [d.wait(2.5 * wait) for d in drips]
        end = began + 2.5 * wait
        while (all_cut := s.metrics()["quire_http_slow_readers_total"]) < unread and time.monotonic() < end:
            time.sleep(0.1)
        left = s.metrics()["quire_http_sequences_live"]
        for x in (*idlers, *mute, *drips):
            x.close()
        end = time.monotonic() + 6  # memory goes back in steps of two seconds
        while (after := s.stat()) > 1.2 * before and time.monotonic() < end:
            time.sleep(0.1)
        base = sorted(base + first_token_ms(s, 200, gap_s=0.002))
        table(
            "the crowd",
            ["", "median ms", "p99 ms"],
            [
                ["alone", f"{percentile(base, 0.5):.2f}", f"{percentile(base, 0.99):.2f}"],
                ["while it computes", f"{percentile(busy, 0.5):.2f}", f"{percentile(busy, 0.99):.2f}"],
                ["in the crowd", f"{percentile(seen, 0.5):.2f}", f"{percentile(seen, 0.99):.2f}"],
            ],
        )
        print(
            f"  unread streams cut {cut:.0f}, after the deadline {all_cut:.0f} of {unread}; slow heads gone {len(lives[0])} of {heads}, "
            f"slow bodies {len(lives[1])} of {bodies}; health {set(health)}; RSS {before} -> {after} KiB"
        )
        assert set(health) == {200}
        assert (len(lives[0]), len(lives[1]), left) == (heads, bodies, 0)
        assert (cut, all_cut) == (0, unread)
        assert percentile(seen, 0.99) <= 1.5 * percentile(base, 0.99) + (0 if FULL else 20)
        assert after <= 1.2 * before
