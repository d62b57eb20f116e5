#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Closed-loop load on one running server (loopback only), standard library only.

Sends token-id prompts to /v1/completions (greedy, ignore_eos, streamed) from CONCURRENCY clients until
REQUESTS are done, and prints by the client's clock: time to first token (TTFT), time per output token
(TPOT = (end - first) / (n - 1)), the gaps between events (ITL), and tokens per second.

    bench_serve.py http://127.0.0.1:8000 --input 1024 --output 128 --concurrency 8 --requests 64
"""
import argparse
import asyncio
import json
import random
import statistics
import sys
import time
import urllib.parse
import urllib.request


def pct(v, p):
    v = sorted(v)
    return v[min(len(v) - 1, int(p / 100 * len(v)))] if v else float("nan")


async def one(host, port, body):
    """One streamed request: (ttft, [gaps], total seconds, tokens, cached) or an error text."""
    t0 = time.perf_counter()
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
                 b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        text = (await reader.read(2000)).decode(errors="replace")
        writer.close()
        return f"{head[:40]!r}: {text[:300]}"
    first, last, gaps, usage = None, None, [], {}
    async for line in reader:
        if not line.startswith(b"data: "):
            continue
        now = time.perf_counter()
        if line.startswith(b"data: [DONE]"):
            break
        if b'"choices":[]' in line:
            usage = json.loads(line[6:])["usage"]
            continue
        if b'"error"' in line[:16]:
            writer.close()
            return line.decode()[:300]
        if first is None:
            first = now
        else:
            gaps.append(now - last)
        last = now
    writer.close()
    if first is None:
        return "no token"
    return (first - t0, gaps, last - t0, usage.get("completion_tokens", len(gaps) + 1),
            usage.get("prompt_tokens_details", {}).get("cached_tokens", 0))


async def run(a):
    url = urllib.parse.urlsplit(a.url)
    assert url.hostname in ("127.0.0.1", "localhost", "::1"), "loopback only"
    rng = random.Random(a.seed)
    shared = [rng.randrange(a.vocab_low, a.vocab_high) for _ in range(a.shared)]
    bodies = [json.dumps({
        "prompt": shared + [rng.randrange(a.vocab_low, a.vocab_high) for _ in range(a.input - a.shared)],
        "max_tokens": a.output, "temperature": 0, "ignore_eos": True, "stream": True,
        "stream_options": {"include_usage": True}}).encode() for _ in range(a.requests)]
    results, errors = [], []

    async def client():
        while bodies:
            r = await one(url.hostname, url.port, bodies.pop())
            (errors if isinstance(r, str) else results).append(r)

    t = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(a.concurrency)))
    wall = time.perf_counter() - t
    ttft = [r[0] for r in results]
    tpot = [(r[2] - r[0]) / max(1, r[3] - 1) for r in results]
    itl = [g for r in results for g in r[1]]
    out = sum(r[3] for r in results)
    row = {
        "in": a.input, "out": a.output, "conc": a.concurrency, "ok": len(results), "errors": len(errors),
        "ttft_ms_p50": 1e3 * pct(ttft, 50), "ttft_ms_p99": 1e3 * pct(ttft, 99),
        "tpot_ms_p50": 1e3 * pct(tpot, 50), "itl_ms_p50": 1e3 * pct(itl, 50), "itl_ms_p99": 1e3 * pct(itl, 99),
        "itl_ms_max": 1e3 * max(itl, default=float("nan")),
        "out_tok_s": out / wall, "total_tok_s": (out + a.input * len(results)) / wall,
        "req_s": len(results) / wall, "cached_mean": statistics.fmean([r[4] for r in results] or [0]),
    }
    print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}))
    for e in errors[:3]:
        print("error:", e, file=sys.stderr)
    return 1 if errors else 0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("url")
    p.add_argument("--input", type=int, default=1024)
    p.add_argument("--output", type=int, default=128)
    p.add_argument("--shared", type=int, default=0, help="leading tokens common to all prompts")
    p.add_argument("--concurrency", type=int, default=8)
    p.add_argument("--requests", type=int, default=64)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--vocab-low", type=int, default=1000)
    p.add_argument("--vocab-high", type=int, default=40000)
    sys.exit(asyncio.run(run(p.parse_args())))


if __name__ == "__main__":
    main()
