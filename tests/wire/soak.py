# SPDX-License-Identifier: Apache-2.0
"""A server under mixed traffic for SECONDS: soak.py SECONDS [setting=value ...]

Workers send what clients send, and what they should not: answers in one piece and streams, several choices,
logprobs, chat, tokenizing, wrong bodies, bodies that end early, clients that leave in the middle, clients that
read slowly or not at all, scrapes and probes. Every PERIOD the traffic stops, everything must come back (no
sequence, no connection, every page free or in the cache), and a row is printed. It fails when something did not
come back, when an honest answer was wrong, or when memory or descriptors rise: the last third of the rows against
the second. QUIRED names the binary.
"""

import collections
import contextlib
import json
import os
import random
import socket
import sys
import threading
import time

from rig import events, request, serve, table
from slow_rig import connect, raise_fd_limit

PERIOD = 15.0
WORKERS = 24
TEXT, CHAT = "/v1/completions", "/v1/chat/completions"


class Traffic:
    def __init__(self, s, seed):
        self.s, self.seen, self.wrong = s, collections.Counter(), []
        self.go, self.end = threading.Event(), threading.Event()
        self.busy, self.lock = 0, threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(seed + i,), daemon=True) for i in range(WORKERS)]
        for t in self.threads:
            t.start()

    def run(self, seed):
        r = random.Random(seed)
        kinds = [getattr(self, k) for k in dir(self) if k.startswith("do_")]
        while not self.end.is_set():
            if not self.go.wait(0.2):
                continue
            with self.lock:
                self.busy += 1
            kind = r.choice(kinds)
            try:
                kind(r)
                self.seen[kind.__name__[3:]] += 1
            except (OSError, EOFError, TimeoutError) as e:
                self.wrong.append(f"{kind.__name__}: {type(e).__name__} {e}")
            except AssertionError as e:
                self.wrong.append(f"{kind.__name__}: {e}")
            with self.lock:
                self.busy -= 1

    def pause(self, seconds):
        """No traffic; True when all that ran came to its end."""
        self.go.clear()
        end = time.monotonic() + seconds
        while self.busy and time.monotonic() < end:
            time.sleep(0.05)
        return self.busy == 0

    def prompt(self, r):
        return r.choice(["Once upon a time ", "In a hole in the ground ", "x"]) * r.randint(1, 60) + str(r.random())

    def ask(self, path, body, good=(200,)):
        a = self.s.post(path, body, timeout=60)
        assert a.status in good, f"{a.status} for {str(body)[:100]}: {a.body[:200]}"
        return a

    def do_text(self, r):
        n, k = r.choice([1, 1, 2, 4]), r.randint(1, 60)
        ask = {"prompt": self.prompt(r), "max_tokens": k, "n": n, "ignore_eos": True}
        if r.random() < 0.3:
            ask["logprobs"] = r.randint(0, 5)
        a = self.ask(TEXT, ask, (200, 429)).json()
        assert "error" in a or (len(a["choices"]) == n and a["usage"]["completion_tokens"] == n * k), a.get("usage")

    def do_batch(self, r):
        n = r.randint(2, 8)
        a = self.ask(TEXT, {"prompt": [self.prompt(r) for _ in range(n)], "max_tokens": 3}, (200, 429)).json()
        assert "error" in a or len(a["choices"]) == n

    def do_stream(self, r):
        k = r.randint(1, 200)
        ask = {"prompt": self.prompt(r), "max_tokens": k, "stream": True, "ignore_eos": True}
        a = self.ask(TEXT, {**ask, "stream_options": {"include_usage": True}}, (200, 429))
        if a.status == 200:
            ev = events(a.body)
            assert ev[-1] == b"[DONE]" and json.loads(ev[-2])["usage"]["completion_tokens"] == k, ev[-2]

    def do_chat(self, r):
        ask = {"messages": [{"role": "user", "content": self.prompt(r)}], "max_tokens": r.randint(1, 40)}
        self.ask(CHAT, {**ask, "stream": r.random() < 0.5}, (200, 429))

    def do_tokens(self, r):
        ids = self.ask("/tokenize", {"prompt": self.prompt(r) * r.choice([1, 1, 40])}).json()["tokens"]
        self.ask("/detokenize", {"tokens": ids})

    def do_probe(self, r):
        assert self.s.ask("GET", r.choice(["/health", "/live", "/ready", "/metrics", "/v1/models"])).status == 200

    def do_wrong(self, r):
        bad = [{}, [], {"prompt": 5}, {"prompt": "x", "temperature": 9}, {"prompt": "x", "n": 10**6}, b"{", b"\xff", b""]
        assert self.s.post(TEXT, r.choice(bad)).status == 400

    def do_wrong_head(self, r):
        with self.s.conn() as c:
            c.send(r.choice([b"GET / HTTP/1.1\nHost: x\r\n\r\n", b"nonsense\r\n\r\n", b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n"]))
            assert c.answer().status in (400, 404)

    def do_unfinished(self, r):
        with self.s.conn() as c:
            c.send(request("POST", TEXT, {"prompt": "x" * r.randint(1, 200000)})[: r.randint(1, 100000)])
            time.sleep(r.random() * 0.2)

    def do_leave(self, r):
        with self.s.conn() as c:
            c.send(request("POST", TEXT, {"prompt": self.prompt(r), "max_tokens": 3000, "n": r.choice([1, 3]), "stream": r.random() < 0.7}))
            if r.random() < 0.5:
                with contextlib.suppress(EOFError, TimeoutError):
                    c.timeout = 0.3
                    c.fill()
            time.sleep(r.random() * 0.1)

    def do_reset(self, r):
        with self.s.conn() as c:
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            c.send(request("POST", TEXT, {"prompt": self.prompt(r), "max_tokens": 500, "stream": True}))
            time.sleep(r.random() * 0.05)

    def do_slow(self, r):
        s = connect(self.s.port, 8192)
        with contextlib.closing(s):
            s.sendall(request("POST", TEXT, {"prompt": self.prompt(r), "max_tokens": 400, "logprobs": 5, "stream": True}))
            end, tail = time.monotonic() + r.uniform(0.5, 3), b""
            while time.monotonic() < end and not tail.endswith(b"\r\n0\r\n\r\n"):
                got = s.recv(8192)
                assert got, f"cut: {tail!r}"
                tail = (tail + got)[-64:]
                time.sleep(0.02)

    def do_mute(self, r):
        s = connect(self.s.port, 4096)
        with contextlib.closing(s):
            s.sendall(request("POST", TEXT, {"prompt": self.prompt(r), "max_tokens": 2000, "stream": True}))
            time.sleep(r.uniform(0.5, 4))


def settled(s, seconds):
    """The metrics once nothing runs any more, or as they are after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        m = s.metrics()
        idle = m["quire_http_sequences_live"] == 0 and m["quire_http_connections"] <= 1
        if (idle and m["quire_requests_running"] == 0 and m["quire_requests_waiting"] == 0) or time.monotonic() > end:
            return m
        time.sleep(0.1)


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    raise_fd_limit(4096)
    rows, bad = [], []
    # short contexts: the engine's arrays for the longest sequences are taken at start, and each page of them that
    # is used for the first time looks like growth
    base = ("model.max_model_len=4096", "scheduler.max_seqs=32", "limits.queue_size=256", "kv.pool_bytes=8MiB", "http.write_timeout=2s", "log.level=warn")
    with serve(*base, "http.header_timeout=2s", "http.body_timeout=2s", *sys.argv[2:]) as s:
        t = Traffic(s, int(os.environ.get("SEED", "1")))
        began = time.monotonic()
        while time.monotonic() < began + seconds and s.alive():
            t.go.set()
            time.sleep(min(PERIOD, max(1, began + seconds - time.monotonic())))
            if not t.pause(60):
                bad.append("a client waits for ever")
            m = settled(s, 30)
            time.sleep(2.5)  # memory goes back in steps of two seconds
            m = settled(s, 1)
            pages = m["quire_kv_pages_free"] + m["quire_kv_pages_cached"]
            row = {
                "s": round(time.monotonic() - began),
                "requests": sum(t.seen.values()),
                "RSS": s.stat() >> 10,
                "fds": int(m["process_open_fds"]),
                "pages": int(pages),
                "live": int(m["quire_http_sequences_live"]),
                "conns": int(m["quire_http_connections"]),
                "tokens": int(m["quire_generation_tokens_total"]),
                "audits wrong": int(m["quire_kv_audit_failures_total"]),
            }
            rows.append(row)
            print(" ".join(f"{k}={v}" for k, v in row.items()), flush=True)
            if pages != m["quire_kv_pages"] or row["live"] or row["conns"] > 1 or row["audits wrong"]:
                bad.append(f"not all came back: {row}, {m['quire_kv_pages']:.0f} pages")
        t.end.set()
        alive = s.alive()
        log = s.log()
    table("requests", ["kind", "n"], sorted(t.seen.items()))
    third = len(rows) // 3
    if third:
        for what, slack in (("RSS", 3), ("fds", 4)):
            early = max(r[what] for r in rows[third : 2 * third] or rows[:1])
            late = max(r[what] for r in rows[2 * third :])
            print(f"{what}: {rows[0][what]} after the first period, at most {early} in the second third, {late} in the last")
            if late > early * 1.05 + slack:
                bad.append(f"{what} rises: {early} -> {late}")
    if not alive:
        bad.append("the server died: " + log[-500:])
    bad += t.wrong[:20]
    print(*bad, sep="\n")
    print("flat" if not bad else f"{len(bad)} faults")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
