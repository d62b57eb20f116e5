# SPDX-License-Identifier: Apache-2.0
"""A pool far too small, clients that leave, signals: the server stays alive and loses no page."""
import concurrent.futures as cf
import contextlib
import os
import random
import signal
import socket
import struct
import threading
import time

import openai

from conftest import serve

# 64 pages of SmolLM2-135M on the CPU: 16 tokens x 30 layers x k,v x 3 heads x 64 x 4 bytes = 720 KiB each
TINY = ("kv.pool_bytes=45MiB", "kv.dtype=f32", "scheduler.max_seqs=64", "limits.queue_size=256", "drain.delay=0",
        "model.max_model_len=512")


def pages_are_back(s):
    m = s.wait_idle()
    assert m["quire_kv_pages"] == 64
    assert m["quire_kv_pages_free"] + m["quire_kv_pages_cached"] == 64, m
    assert m.get("quire_kv_audit_failures_total", 0) == 0
    return m


def stream(s, i, results, stop=None):
    c = openai.OpenAI(base_url=s.url + "/v1", api_key="x", max_retries=0, timeout=600)
    n, end = 0, None
    try:
        with c.completions.create(model="", prompt=f"Endless story {i}:", max_tokens=200, stream=True,
                                  extra_body={"ignore_eos": True}) as r:
            for chunk in r:
                n += 1
                if chunk.choices and chunk.choices[0].finish_reason:
                    end = chunk.choices[0].finish_reason
                if stop is not None and n >= stop:
                    end = "left"
                    break
    except openai.APIError as e:
        end = f"error {e.code}"
    results[i] = (n, end)


def test_forty_endless_streams():
    with serve(*TINY) as s:
        results = {}
        with cf.ThreadPoolExecutor(40) as ex:
            list(ex.map(lambda i: stream(s, i, results), range(40)))
        assert len(results) == 40
        for n, end in results.values():
            assert end == "length" and n >= 200, results
        m = pages_are_back(s)
        print("preemptions", m["vllm:num_preemptions_total"])
        assert m["vllm:num_preemptions_total"] > 0, "the pool was not under pressure"


def kill_after(s, i, seconds):
    """A client that vanishes: queued, in its prefill or in mid-stream; every other one with a reset."""
    body = (b'{"prompt":"%s","max_tokens":400,"stream":%s,"ignore_eos":true}'
            % (b"Endless story %d: " % i * (1 + i % 9), b"true" if i % 3 else b"false"))
    with socket.create_connection(("127.0.0.1", s.port)) as c:
        if i % 2:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  b"Content-Length: %d\r\n\r\n" % len(body) + body)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            c.settimeout(left)
            with contextlib.suppress(TimeoutError):
                if not c.recv(4096):
                    raise AssertionError(f"client {i}: the server hung up")


def test_forty_clients_killed():
    rng = random.Random(3)
    with serve(*TINY) as s:
        with cf.ThreadPoolExecutor(40) as ex:
            list(ex.map(lambda i: kill_after(s, i, rng.random() * 4), range(40)))
        pages_are_back(s)
        assert s.get("/health")[0] == 200
        results = {}
        stream(s, 0, results)
        assert results[0][1] == "length"


def test_gone_client_frees_its_pages_quickly():
    with serve(*TINY) as s:
        body = b'{"prompt":"x","max_tokens":400,"stream":true,"ignore_eos":true}'
        c = socket.create_connection(("127.0.0.1", s.port))
        c.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert b"200" in c.recv(100)
        c.close()
        t = time.monotonic()
        s.wait_idle()
        assert time.monotonic() - t < 0.5
        pages_are_back(s)


def test_idle_costs_nothing():
    with serve(*TINY) as s:
        results = {}
        stream(s, 0, results)
        s.wait_idle()
        time.sleep(0.5)

        def cpu_s():
            f = open(f"/proc/{s.proc.pid}/stat").read().rsplit(") ", 1)[1].split()
            return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")

        a = cpu_s()
        time.sleep(10)
        used = cpu_s() - a
        print(f"idle: {used / 10:.2%} of a core")
        assert used <= 0.05


def test_drain():
    with serve(*TINY, "drain.timeout=5m") as s:
        results = {}
        t = threading.Thread(target=stream, args=(s, 0, results))
        t.start()
        while s.metrics()["vllm:num_requests_running"] == 0:
            time.sleep(0.01)
        s.proc.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        with socket.socket() as c:  # new connections are refused or answered 503 from now on
            if c.connect_ex(("127.0.0.1", s.port)) == 0:
                c.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
                got = c.recv(200)
                assert got == b"" or b" 503 " in got
        t.join(200)
        assert results[0] == (results[0][0], "length") and results[0][0] >= 200
        assert s.proc.wait(30) == 0


def test_second_signal_stops_at_once():
    s = serve(*TINY)
    with s as srv:
        results = {}
        t = threading.Thread(target=stream, args=(srv, 0, results))
        t.start()
        while srv.metrics()["vllm:num_requests_running"] == 0:
            time.sleep(0.01)
        srv.proc.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        srv.proc.send_signal(signal.SIGTERM)
        assert srv.proc.wait(5) == 143
        t.join(10)
