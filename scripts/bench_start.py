#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How fast quired is ready and what it costs to have it: start-up, memory, size, idle CPU.

    bench_start.py build/release/quired MODEL [--runs 5] [-- extra quired arguments]

Starts the daemon on a loopback port of its own, times from exec to the first 200 of /ready (files come
from the page cache from the second run on), reads RSS from /proc, then CPU time over ten idle seconds.
"""
import argparse
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(a):
    port = free_port()
    t = time.monotonic()
    p = subprocess.Popen([a.quired, "--config", str(ROOT / "configs/demo.yaml"), "--set", f"model.path={a.model}",
                          "--set", f"http.listen=127.0.0.1:{port}", "--set", "drain.delay=0", *a.extra],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        if p.poll() is not None:
            sys.exit(f"quired ended with {p.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as r:
                if r.status == 200:
                    return p, time.monotonic() - t
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.005)


def status_kib(pid, key):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"^{key}:\s+(\d+) kB", text, re.M).group(1))


def cpu_seconds(pid):
    f = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("quired")
    p.add_argument("model")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("extra", nargs="*")
    a = p.parse_args()
    times = []
    for i in range(a.runs):
        proc, t = start(a)
        times.append(t)
        if i == a.runs - 1:
            before = cpu_seconds(proc.pid)
            time.sleep(10)
            idle = (cpu_seconds(proc.pid) - before) / 10
            print(f"RSS            {status_kib(proc.pid, 'VmRSS') / 1024:8.1f} MiB "
                  f"(anonymous {status_kib(proc.pid, 'RssAnon') / 1024:.1f} MiB)")
            print(f"idle CPU       {100 * idle:8.2f} % of a core over 10 s")
        proc.terminate()
        proc.wait(30)
    print(f"ready after    {statistics.median(times):8.3f} s median of {len(times)} (first {times[0]:.3f} s)")
    print(f"binary         {os.path.getsize(a.quired) / 1048576:8.2f} MiB")


if __name__ == "__main__":
    main()
