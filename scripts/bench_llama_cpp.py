#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The measurements of tests/bench/bench_decode.c by llama.cpp, for the ratio.

    pip install llama-cpp-python
    bench_llama_cpp.py MODEL.gguf [max rows] [prompt tokens] [threads]

Same token ids, same lengths; its defaults otherwise (f16 KV, integer dot products on activations
rounded to 8 bits, where quired computes in f32)."""
import ctypes
import sys
import time

import llama_cpp as L
import numpy as np

STEPS, WARM = 24, 3


def main():
    path = sys.argv[1]
    rows = int(sys.argv[2]) if len(sys.argv) > 2 else 8
    n = int(sys.argv[3]) if len(sys.argv) > 3 else 512
    threads = int(sys.argv[4]) if len(sys.argv) > 4 else 2

    @L.llama_log_callback
    def quiet(_level, _text, _data):
        pass

    L.llama_log_set(quiet, ctypes.c_void_p(0))
    L.llama_backend_init()
    t0 = time.monotonic()
    model = L.llama_load_model_from_file(path.encode(), L.llama_model_default_params())
    cp = L.llama_context_default_params()
    cp.n_ctx, cp.n_batch, cp.n_ubatch, cp.n_seq_max = (n + 64) * rows, max(n, rows), 512, rows
    cp.n_threads = cp.n_threads_batch = threads
    ctx = L.llama_new_context_with_model(model, cp)
    vocab = L.llama_n_vocab(L.llama_model_get_vocab(model))
    print(f"load            {(time.monotonic() - t0) * 1e3:8.0f} ms  (llama.cpp, {threads} threads)")
    batch = L.llama_batch_init(max(n, rows), 0, 1)

    def put(i, token, pos, seq, out):
        batch.token[i], batch.pos[i] = token, pos
        batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = 1, seq, out

    def go(count):
        batch.n_tokens = count
        if L.llama_decode(ctx, batch) != 0:
            sys.exit("llama_decode failed")

    def best(i):
        return int(np.ctypeslib.as_array(L.llama_get_logits_ith(ctx, i), (vocab,)).argmax())

    for r in range(rows):
        t0 = time.monotonic()
        for i in range(n):
            put(i, i * 2654435761 % 2**32 % vocab, i, r, i == n - 1)
        go(n)
        best(n - 1)
        if r < 3:
            print(f"prefill {n:5d}   {n / (time.monotonic() - t0):8.1f} tok/s")
    r = 1
    while r <= rows:
        for s in range(r):
            L.llama_memory_seq_rm(L.llama_get_memory(ctx), s, n, -1)
        tokens = [5] * r
        for i in range(WARM + STEPS):
            if i == WARM:
                t0 = time.monotonic()
            for s in range(r):
                put(s, tokens[s], n + i, s, True)
            go(r)
            tokens = [best(s) for s in range(r)]
        rate = r * STEPS / (time.monotonic() - t0)
        print(f"decode  {r:5d}   {rate:8.1f} tok/s  ({n} tokens of context)")
        r *= 2


main()
