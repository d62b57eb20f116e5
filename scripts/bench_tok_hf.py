#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tokenizer against Hugging Face's on one thread, same texts, same chunks, same ids.

  python3 scripts/bench_tok_hf.py BENCH_TOK TOKENIZER_JSON... -- TEXT...

BENCH_TOK is the built bench_tok program. Needs `pip install tokenizers` (a venv will do). Both sides
are timed by processor time, best of several rounds, the faster of the reference's two batch calls.
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
ROUNDS = 3


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


def reference(tok, parts):
    """Seconds of the faster call, and the sum that bench_tok prints."""
    best = 1e9
    for call in (tok.encode_batch, tok.encode_batch_fast):
        for _ in range(ROUNDS):
            at = time.process_time()
            got = call(parts, add_special_tokens=False)
            best = min(best, time.process_time() - at)
    total = 0
    for e in got:
        for i in e.ids:
            total = (total * 31 + i) & (2**64 - 1)
    return best, total


def main():
    cut = sys.argv.index("--")
    bench, names, texts = sys.argv[1], sys.argv[2:cut], sys.argv[cut + 1:]
    print(f"tokenizers {__version__}, chunks of {CHUNK} bytes")
    for name in names:
        tok = Tokenizer.from_file(name)
        row, load = [], 0
        for text in texts:
            data = open(text, "rb").read()
            ours = json.loads(subprocess.check_output([bench, name, text, str(CHUNK)]))
            best, total = reference(tok, chunks(data))
            theirs = len(data) / best / 1e6
            load = ours["load_s"]
            row.append(f"{os.path.basename(text)} {ours['encode_MBps']:.1f} vs {theirs:.1f} MB/s = "
                       f"{ours['encode_MBps'] / theirs:.2f}x"
                       + ("" if total == ours["sum"] else " IDS DIFFER"))
        print(f"{name}: {'; '.join(row)}; load {load:.2f} s", flush=True)


if __name__ == "__main__":
    main()
