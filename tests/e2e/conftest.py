# SPDX-License-Identifier: Apache-2.0
"""End-to-end tests: the real daemon, the real demo model, unmodified clients, loopback only.

QUIRED is the binary, QUIRE_TEST_MODEL the demo model's path (scripts/test.sh sets both).
"""
import contextlib
import os
import pathlib
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUIRED = os.environ.get("QUIRED", str(ROOT / "build/release/quired"))
MODEL = os.environ.get("QUIRE_TEST_MODEL", "")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """One quired process on a port of its own."""

    def __init__(self, *settings, model=None, ready_s=60):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        args = [QUIRED, "--config", str(ROOT / "configs/demo.yaml"),
                "--set", f"model.path={model or MODEL}", "--set", f"http.listen=127.0.0.1:{self.port}",
                "--set", "device=cpu"]
        for s in settings:
            args += ["--set", s]
        self.log = open(os.environ.get("QUIRE_TEST_LOG", os.devnull), "ab")
        self.started = time.monotonic()
        self.proc = subprocess.Popen(args, stdout=self.log, stderr=self.log)
        if ready_s:
            self.wait_ready(ready_s)

    def wait_ready(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.proc.poll() is not None:
                raise RuntimeError(f"quired ended with {self.proc.returncode} before it was ready")
            with contextlib.suppress(OSError):
                if self.get("/ready")[0] == 200:
                    self.ready_after = time.monotonic() - self.started
                    return
            time.sleep(0.01)
        raise RuntimeError("quired was not ready in time")

    def get(self, path):
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def metrics(self):
        out = {}
        for line in self.get("/metrics")[1].splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                out[name] = float(value)
                out.setdefault(name.split("{")[0], float(value))
        return out

    def wait_idle(self, seconds=120):
        """Until nothing waits or runs; returns the last metrics."""
        end = time.monotonic() + seconds
        while True:
            m = self.metrics()
            if m["vllm:num_requests_running"] == 0 and m["vllm:num_requests_waiting"] == 0:
                return m
            if time.monotonic() > end:
                raise AssertionError(f"not idle: {m}")
            time.sleep(0.02)

    def stop(self, seconds=30):
        if self.proc.poll() is None:
            self.proc.terminate()
            try:
                self.proc.wait(seconds)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
                raise
        self.log.close()
        return self.proc.returncode


@contextlib.contextmanager
def serve(*settings, **kw):
    s = Server(*settings, **kw)
    try:
        yield s
    finally:
        s.stop()


@pytest.fixture(scope="session")
def server():
    with serve("drain.delay=0", "scheduler.max_seqs=256", "limits.queue_size=512") as s:
        yield s
        assert s.proc.poll() is None, "the server died during the tests"


@pytest.fixture(scope="session")
def client(server):
    import openai
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=300)


@pytest.fixture(scope="session")
def model(client):
    return client.models.list().data[0].id
