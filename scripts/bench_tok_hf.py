#!/usr/bin/env python3
"""The tokenizer against Hugging Face's on one thread, same text, same chunks, same ids.

  python3 scripts/bench_tok_hf.py BENCH_TOK TEXT TOKENIZER_JSON...

BENCH_TOK is the built bench_tok program. Needs `pip install tokenizers` (a venv will do).
"""
import json
import os
import subprocess
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
from tokenizers import Tokenizer, __version__  # noqa: E402

CHUNK = 8192


def chunks(data):
    out, at = [], 0
    while at < len(data):
        end = len(data)
        if end - at > CHUNK:
            nl = data.find(b"\n", at + CHUNK)
            end = nl + 1 if nl >= 0 else end
        out.append(data[at:end].decode())
        at = end
    return out


def main():
    bench, text, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    data = open(text, "rb").read()
    parts = chunks(data)
    print(f"text {len(data)} bytes in {len(parts)} chunks, tokenizers {__version__}")
    for name in names:
        ours = json.loads(subprocess.check_output([bench, name, text, str(CHUNK)]))
        tok = Tokenizer.from_file(name)
        best = {}
        for call in ("encode_batch", "encode_batch_fast"):
            for _ in range(3):
                at = time.perf_counter()
                got = getattr(tok, call)(parts, add_special_tokens=False)
                best[call] = min(best.get(call, 1e9), time.perf_counter() - at)
        total = 0
        for e in got:
            for i in e.ids:
                total = (total * 31 + i) & (2**64 - 1)
        hf = {k: len(data) / v / 1e6 for k, v in best.items()}
        fastest = max(hf.values())
        print(f"{name}: {ours['encode_MBps']:.1f} MB/s, reference "
              + ", ".join(f"{k} {v:.1f}" for k, v in hf.items())
              + f" MB/s: {ours['encode_MBps'] / fastest:.2f}x, ids "
              + ("equal" if total == ours["sum"] else "DIFFER")
              + f", load {ours['load_s']:.2f} s, decode {ours['decode_MBps']:.0f} MB/s", flush=True)


if __name__ == "__main__":
    main()
