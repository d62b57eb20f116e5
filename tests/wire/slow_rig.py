# SPDX-License-Identifier: Apache-2.0
"""Crowds of slow clients, in one thread each kind, and a stopwatch for an honest one among them."""

import contextlib
import resource
import select
import socket
import threading
import time

from rig import request


def raise_fd_limit(wanted):
    """True when this process (and the servers it starts) may have `wanted` descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted and (hard == resource.RLIM_INFINITY or hard >= wanted):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return soft >= wanted


def connect(port, rcvbuf=None):
    s = socket.socket()
    if rcvbuf:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    s.settimeout(10)
    s.connect(("127.0.0.1", port))
    return s


class Drip:
    """n connections that send `first`, then one byte of `rest` every `every` seconds (the last ones for ever).
    `gone` says for each how long it lived; what the server said is in `said`."""

    def __init__(self, port, n, first, rest, every, later=False):
        self.rest, self.every, self.gone, self.said = rest, every, {}, {}
        self.socks = []
        for _ in range(n):
            s = connect(port)
            if later:
                s.sendall(request("GET", "/version"))
                got = b""
                while not got.endswith(b"}"):
                    got += s.recv(65536)
            self.socks.append(s)
        self.began = time.monotonic()
        for s in self.socks:
            with contextlib.suppress(OSError):
                s.sendall(first)
            s.setblocking(False)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        poll, at = select.poll(), 0
        by_fd = {s.fileno(): (i, s) for i, s in enumerate(self.socks)}
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        # not all at the same moment: this thread's sends would hold up the stopwatch in another one
        parts = min(20, max(1, len(by_fd) // 10))
        due = time.monotonic() + self.every / parts
        while by_fd and not self.stop.is_set():
            for fd, _ in poll.poll(max(0, min(due - time.monotonic(), 0.1)) * 1000):
                i, s = by_fd[fd]
                try:
                    got = s.recv(65536)
                except OSError:
                    got = b""
                self.said[i] = self.said.get(i, b"") + got
                if not got:
                    self.gone[i] = time.monotonic() - self.began
                    poll.unregister(fd)
                    del by_fd[fd]
            if time.monotonic() >= due:
                due += self.every / parts
                for i, s in list(by_fd.values()):
                    if i % parts == at % parts:
                        with contextlib.suppress(OSError):
                            s.send(self.rest[at // parts % len(self.rest) :][:1])
                at += 1

    def wait(self, seconds):
        """Until all are gone or `seconds` since the beginning: the lives of those that are gone."""
        self.thread.join(max(0, seconds - (time.monotonic() - self.began)))
        return sorted(self.gone.values())

    def close(self):
        self.stop.set()
        self.thread.join()
        for s in self.socks:
            s.close()


def read_all(conns, seconds):
    """Reads all at once until each has sent [DONE]; closes them. How many have."""
    poll, by_fd, tail, done = select.poll(), {}, {}, 0
    for c in conns:
        by_fd[c.sock.fileno()] = c
        poll.register(c.sock.fileno(), select.POLLIN)
    end = time.monotonic() + seconds
    while by_fd and time.monotonic() < end:
        for fd, _ in poll.poll(1000):
            try:
                got = by_fd[fd].sock.recv(1 << 18)
            except OSError:
                got = b""
            tail[fd] = (tail.get(fd, b"") + got)[-64:]
            whole = b"data: [DONE]" in tail[fd]
            done += whole
            if whole or not got:
                poll.unregister(fd)
                del by_fd[fd]
    for c in conns:
        c.close()
    return done


def first_token_ms(s, n, prompt="honest", gap_s=0.0, key=None):
    """Times from sending a streaming request to its first byte, one after another on one connection each."""
    out = []
    for i in range(n):
        with s.conn(20) as c:
            t = time.perf_counter()
            c.send(
                request(
                    "POST",
                    "/v1/completions",
                    {"prompt": f"{prompt} {i}", "max_tokens": 2, "stream": True, "ignore_eos": True, "temperature": 0},
                    key=key,
                )
            )
            c.fill()
            out.append((time.perf_counter() - t) * 1e3)
            a = c.answer()
            assert a.status == 200 and a.body.endswith(b"data: [DONE]\n\n"), a
        time.sleep(gap_s)
    return sorted(out)


def percentile(xs, p):
    return xs[min(len(xs) - 1, int(len(xs) * p))]
