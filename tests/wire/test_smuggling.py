# SPDX-License-Identifier: Apache-2.0
"""Behind nginx and haproxy with kept upstream connections: nothing is smuggled past them.

The proxy gives every request that it forwards an id of its own and repeats it in its answer. A request
that quired runs under another id came from inside somebody's body or head; an answer whose two ids differ
went to the wrong client. Attacks are the cases of framing_cases.py and seeded mutations; between them an
honest client asks through the same upstream connections. Skipped where the proxies are not installed.
"""

import concurrent.futures as cf
import contextlib
import os
import random
import re
import shutil
import socket
import subprocess
import time

import pytest

import framing_cases as fc
from rig import Conn, ProtocolError, free_port, request, serve, table
from test_framing import last, mutate, sample

NGINX = """
daemon off; master_process off; worker_processes 1; pid {dir}/pid; error_log {dir}/error crit;
events {{ worker_connections 512; }}
http {{
  access_log off; keepalive_requests 100000; merge_slashes off; large_client_header_buffers 8 64k;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  upstream quired {{ server 127.0.0.1:{backend}; keepalive 4; keepalive_requests 100000; }}
  ignore_invalid_headers off; underscores_in_headers on; client_header_timeout 2s; client_body_timeout 2s;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://quired; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_next_upstream off;
      proxy_set_header X-Request-Id proxy-$request_id; add_header X-Proxy-Id proxy-$request_id always;
      proxy_request_buffering {buffering}; proxy_buffering off; proxy_read_timeout 3s;
    }}
  }}
}}
"""
HAPROXY = """
global
  maxconn 512
  nbthread 1
defaults
  mode http
  timeout client 2s
  timeout server 3s
  timeout connect 2s
  timeout http-request 2s
  retries 0
frontend in
  bind 127.0.0.1:{port}
  {option}
  http-request set-var(txn.id) uuid()
  http-request set-header X-Request-Id proxy-%[var(txn.id)]
  http-response set-header X-Proxy-Id proxy-%[var(txn.id)]
  default_backend quired
backend quired
  http-reuse always
  server s 127.0.0.1:{backend} pool-max-conn 4
"""


@contextlib.contextmanager
def proxy(kind, backend, folder):
    """A proxy in front of quired; gives its port, or skips."""
    program = shutil.which(kind.split("-")[0]) or shutil.which(kind.split("-")[0], path="/usr/sbin:/sbin")
    if not program:
        pytest.skip(f"{kind} is not installed")
    port, conf = free_port(), os.path.join(folder, kind + ".conf")
    with open(conf, "w") as f:
        if kind.startswith("nginx"):
            f.write(
                NGINX.format(
                    dir=folder, port=port, backend=backend, buffering="off" if kind == "nginx-unbuffered" else "on"
                )
            )
            args = [program, "-c", conf, "-p", str(folder)]
        else:
            f.write(
                HAPROXY.format(
                    port=port,
                    backend=backend,
                    option="option accept-invalid-http-request" if kind == "haproxy-lenient" else "",
                )
            )
            args = [program, "-f", conf]
    p = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 5
        while True:
            assert p.poll() is None and time.monotonic() < end, f"{kind} did not start"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.02)
        yield port
    finally:
        p.terminate()
        p.wait(10)


def answers_of(port, data):
    """All answers that come within a moment; a proxy may hold a bad request until its own time limit."""
    out = []
    with contextlib.suppress(OSError, EOFError, ProtocolError, TimeoutError, ValueError):
        with Conn(port, timeout=0.4) as c:
            c.send_quietly(data)
            while True:
                out.append(c.answer())
    return out


def crossed(answers):
    """Answers made for another request. (A refused head may never have shown its id: then it is a new one.)"""
    return [
        a
        for a in answers
        if a.get("x-proxy-id")
        and a.get("x-request-id") != a.get("x-proxy-id")
        and not ((a.get("x-request-id") or "req_").startswith("req_") and a.status >= 400)
    ]


@pytest.mark.parametrize("kind", ["nginx", "nginx-unbuffered", "haproxy", "haproxy-lenient"])
def test_nothing_is_smuggled(kind, tmp_path):
    rng = random.Random(7)
    attacks = [c.data + last(f"hidden-{i}") for i, c in enumerate(fc.CASES)]
    attacks += [mutate(rng, sample(rng, i)) + last(f"hidden-m{i}") for i in range(600)]
    with (
        serve("log.level=debug", "http.body_timeout=3s", "http.header_timeout=3s") as s,
        proxy(kind, s.port, tmp_path) as port,
    ):
        wrong, honest, bad_gateway = [], 0, 0

        def attack(job):
            return job, crossed(answers_of(port, job))

        with cf.ThreadPoolExecutor(12) as ex, Conn(port) as victim:
            for n, (data, got) in enumerate(ex.map(attack, attacks)):
                wrong += [(data, a) for a in got]
                if n % 4 == 0:
                    a = victim.ask("GET", f"/v1/models/victim-{n}")
                    honest += a.status == 404 and a.error.get("param") == "model"
                    bad_gateway += a.status in (502, 503)
                    wrong += (
                        [(b"victim", a)]
                        if crossed([a]) or (a.status == 404 and f"victim-{n}".encode() not in a.body)
                        else []
                    )
        # a kept connection to the backend may have been closed by the backend in the same moment: 502 is honest
        asked = (len(attacks) + 3) // 4
        ran = [
            r
            for r in re.findall(r"http\.request id=(\S+) method=(\S+) handler=(\S+) status=(\d+)", s.log())
            if r[2] != "ready"
        ]
        hidden = [
            r for r in ran if not r[0].startswith("proxy-") and r[3] not in ("400", "408", "413", "414", "431", "505")
        ]
        table(
            kind,
            ["attacks", "forwarded", "honest", "502", "crossed", "smuggled"],
            [[len(attacks), len(ran), f"{honest} of {asked}", bad_gateway, len(wrong), len(hidden)]],
        )
        assert s.alive()
        assert not hidden, hidden[:10]
        assert not wrong, wrong[:5]
        assert honest + bad_gateway == asked and bad_gateway <= asked // 10
        assert s.ask("GET", "/health").status == 200


def test_an_honest_upload_passes(tmp_path):
    """Chunked bodies, kept connections and streams work through both proxies."""
    for kind in ("nginx-unbuffered", "haproxy"):
        with serve() as s, proxy(kind, s.port, tmp_path) as port, Conn(port) as c:
            for i in range(20):
                c.send(
                    b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                    + fc.good_chunks()
                )
                assert c.answer().json()["count"] == 1
                a = c.ask(
                    "POST", "/v1/completions", {"prompt": "x", "max_tokens": 5, "stream": True, "ignore_eos": True}
                )
                assert a.status == 200 and a.body.endswith(b"data: [DONE]\n\n")


def test_request_helper_is_legal():
    assert request("GET", "/").endswith(b"\r\n\r\n")
