# SPDX-License-Identifier: Apache-2.0
"""What the wire tests share: a quired of their own on a free loopback port, and a client that sees bytes.

QUIRED is the binary, QUIRE_WIRE_SET more settings for every server, apart by spaces. The model is the tiny folder of tiny.py with random weights, unless a test names
another one. Nothing here follows HTTP further than the tests need, and nothing repairs an answer: what
is not exactly one well-formed answer after another is an error.
"""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

import tiny

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUIRED = os.environ.get("QUIRED", str(ROOT / "build/release/quired"))
BASE = (
    "device=cpu",
    "cpu.threads=1",
    "model.served_names=tiny",
    "kv.pool_bytes=64MiB",
    "drain.delay=0",
    "drain.timeout=1s",
    "model.load_format=dummy",
)


def tiny_model():
    return tiny.write(pathlib.Path(tempfile.gettempdir()) / f"quire-wire-{os.getuid()}" / "tiny")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class ProtocolError(Exception):
    """Bytes that are no HTTP answer."""


class Error(dict):
    """An error object; a key that is not there is None."""

    def __missing__(self, _):
        return None


class Answer:
    def __init__(self, status, headers, body, interim=0):
        self.status, self.headers, self.body, self.interim = status, headers, body, interim

    def get(self, name, default=None):
        return next((v for k, v in self.headers if k == name.lower()), default)

    @property
    def closes(self):
        return (self.get("connection") or "").lower() == "close"

    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return Error(self.json().get("error", {})) if self.status >= 400 else Error()

    def __repr__(self):
        return f"<{self.status} {self.body[:200]!r}>"


class Conn:
    """One connection; answers are read one by one, and what is left over stays in `buf`."""

    def __init__(self, port, timeout=10):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.timeout, self.buf, self.reset = timeout, b"", False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def send_quietly(self, data):
        """Like send, for a peer that may already have closed."""
        with contextlib.suppress(OSError):
            self.sock.sendall(data)

    def fill(self, until=None):
        """More bytes into buf: False at the end of the stream. TimeoutError when nothing comes."""
        left = self.timeout if until is None else until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.sock.settimeout(left)
        try:
            got = self.sock.recv(1 << 16)
        except (ConnectionResetError, BrokenPipeError):
            self.reset, got = True, b""
        self.buf += got
        return bool(got)

    def take(self, n):
        while len(self.buf) < n:
            if not self.fill():
                raise EOFError
        out, self.buf = self.buf[:n], self.buf[n:]
        return out

    def take_line(self):
        while b"\r\n" not in self.buf:
            if not self.fill():
                raise EOFError
        line, self.buf = self.buf.split(b"\r\n", 1)
        return line

    def head(self):
        """Status and headers of the next answer; 100 Continue is skipped and counted."""
        interim = 0
        while True:
            while b"\r\n\r\n" not in self.buf:
                if not b"HTTP/1.1 ".startswith(self.buf[:9]) and not self.buf.startswith(b"HTTP/1.1 "):
                    raise ProtocolError(self.buf[:200])
                if not self.fill():
                    raise EOFError if not self.buf else ProtocolError(self.buf[:200])
            text, self.buf = self.buf.split(b"\r\n\r\n", 1)
            first, *rest = text.split(b"\r\n")
            words = first.split(b" ", 2)
            if words[0] != b"HTTP/1.1" or len(words) < 2 or not words[1].isdigit() or len(words[1]) != 3:
                raise ProtocolError(text[:200])
            if words[1] != b"100":
                break
            interim += 1
        headers = []
        for line in rest:
            name, colon, value = line.partition(b":")
            if not colon or not name or name.strip() != name:
                raise ProtocolError(line)
            headers.append((name.decode("latin-1").lower(), value.strip().decode("latin-1")))
        return int(words[1]), headers, interim

    def answer(self, no_body=False):
        status, headers, interim = self.head()
        a = Answer(status, headers, b"", interim)
        if no_body:
            return a
        if a.get("transfer-encoding") == "chunked":
            a.body = b"".join(self.chunks())
        elif a.get("content-length") is not None:
            a.body = self.take(int(a.get("content-length")))
        else:
            while self.fill():
                pass
            a.body, self.buf = self.buf, b""
        return a

    def chunks(self):
        while True:
            n = int(self.take_line(), 16)
            data = self.take(n)
            if self.take(2) != b"\r\n":
                raise ProtocolError("a chunk does not end with CR LF")
            if n == 0:
                return
            yield data

    def ended(self, seconds=3):
        """True when the peer closes within `seconds` and sends nothing more."""
        until = time.monotonic() + seconds
        try:
            while not self.buf and self.fill(until):
                pass
        except TimeoutError:
            return False
        return not self.buf

    def ask(self, method, path, body=None, headers=(), key=None):
        self.send(request(method, path, body, headers, key))
        return self.answer(no_body=method == "HEAD")


def request(method, path, body=None, headers=(), key=None):
    """The bytes of one good request; a body that is no bytes becomes JSON."""
    h = [f"{method} {path} HTTP/1.1", "Host: x"]
    if key is not None:
        h.append(f"Authorization: Bearer {key}")
    h += [f"{k}: {v}" for k, v in headers]
    if body is not None:
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if not any(k.lower() == "content-type" for k, _ in headers):
            h.append("Content-Type: application/json")
        h.append(f"Content-Length: {len(body)}")
    return "\r\n".join(h).encode("latin-1") + b"\r\n\r\n" + (body or b"")


def events(body):
    """The data of each server-sent event; the framing rule S-3 is checked on the way."""
    out = []
    assert body.endswith(b"\n\n"), body[-100:]
    for e in body[:-2].split(b"\n\n"):
        assert e.startswith(b"data: ") and b"\n" not in e, e[:200]
        out.append(e[6:])
    return out


class Server:
    """One quired. stderr goes to a file (log()), or to `stderr` when given."""

    def __init__(self, *settings, model=None, ready_s=30, stderr=None, env=None, prefix=(), binary=None):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        args = [*prefix, binary or QUIRED]
        for s in (
            *BASE,
            f"model.path={model or tiny_model()}",
            f"http.listen=127.0.0.1:{self.port}",
            *settings,
            *os.environ.get("QUIRE_WIRE_SET", "").split(),
        ):
            args += ["--set", s]
        self.log_file = tempfile.NamedTemporaryFile(prefix="quire-wire-", suffix=".log")
        self.proc = subprocess.Popen(
            args, stdout=subprocess.DEVNULL, stderr=stderr or self.log_file, env={**os.environ, **(env or {})}
        )
        if ready_s:
            try:
                self.wait_ready(ready_s)
            except BaseException:
                self.stop()
                raise

    def log(self):
        return pathlib.Path(self.log_file.name).read_text(errors="replace")

    def wait_ready(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.proc.poll() is not None:
                raise RuntimeError(f"quired ended with {self.proc.returncode}: {self.log()[-2000:]}")
            with contextlib.suppress(OSError, EOFError):
                if self.ask("GET", "/ready").status == 200:
                    return
            time.sleep(0.005)
        raise RuntimeError("quired was not ready in time: " + self.log()[-2000:])

    def conn(self, timeout=10):
        return Conn(self.port, timeout)

    def ask(self, method, path, body=None, headers=(), key=None, timeout=10):
        with self.conn(timeout) as c:
            return c.ask(method, path, body, headers, key)

    def post(self, path, body, key=None, timeout=60, headers=()):
        return self.ask("POST", path, body, headers, key, timeout)

    def metrics(self):
        out = {}
        a = self.ask("GET", "/metrics")
        assert a.status == 200, f"/metrics: {a}"
        for line in a.body.decode().splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                out[name] = float(value)
                out.setdefault(name.split("{")[0], float(value))
        return out

    def stat(self, what="VmRSS"):
        for line in pathlib.Path(f"/proc/{self.proc.pid}/status").read_text().splitlines():
            if line.startswith(what + ":"):
                return int(line.split()[1])
        raise KeyError(what)

    def alive(self):
        return self.proc.poll() is None

    def stop(self, seconds=10):
        if self.alive():
            self.proc.send_signal(signal.SIGTERM)
            try:
                self.proc.wait(seconds)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        self.log_file.close()
        return self.proc.returncode


@contextlib.contextmanager
def serve(*settings, **kw):
    s = Server(*settings, **kw)
    try:
        yield s
    finally:
        s.stop()


def run_to_end(*settings, args=(), env=None, seconds=10, model=None, bare=False):
    """Start quired and expect it to end by itself: (exit code or None when it kept running, stderr)."""
    cmd = [QUIRED]
    base = () if bare else (*BASE, f"model.path={model or tiny_model()}", f"http.listen=127.0.0.1:{free_port()}")
    for s in (*base, *settings):
        cmd += ["--set", s]
    p = subprocess.Popen(
        [*cmd, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}
    )
    try:
        out, _ = p.communicate(timeout=seconds)
        return p.returncode, out.decode(errors="replace")
    except subprocess.TimeoutExpired:
        p.kill()
        out, _ = p.communicate()
        return None, out.decode(errors="replace")


def table(title, columns, rows):
    """A small table for the test's output."""
    rows = [[str(c) for c in r] for r in rows]
    width = [max(len(r[i]) for r in [columns, *rows]) for i in range(len(columns))]
    print(f"\n{title}")
    for r in [columns, *rows]:
        print("  " + "  ".join(c.ljust(w) for c, w in zip(r, width)).rstrip())
