#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare the CUDA backend's logits with transformers on the same card, model by model.

    scripts/gpu_logits.py RUN [NAME...]     RUN: the command that starts cuda_logits_tool

For every shape below a model with random weights is made, written as bf16 safetensors, run through
cuda_logits_tool and through transformers in float32 (TF32 off) and in bf16. Printed: the lowest
cosine per position for prefill (packed and in chunks) and for decode after 200 tokens against
float32, how transformers' own bf16 stands against float32, and greedy agreement. Exit 1 below 0.9995.
Needs torch with a GPU and transformers; a development-time check, not a test.
"""
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM,
                          Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

LIMIT = 0.9995
N_IDS = 264
LLAMA3_ROPE = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 8192}


def shape(dim, ffn, layers, heads, kv, vocab, **more):
    return dict(hidden_size=dim, intermediate_size=ffn, num_hidden_layers=layers,
                num_attention_heads=heads, num_key_value_heads=kv, vocab_size=vocab, **more)


MODELS = {
    "smollm2-135m": (LlamaConfig, LlamaForCausalLM, shape(
        576, 1536, 30, 9, 3, 49152, tie_word_embeddings=True, rope_theta=100000.0,
        max_position_embeddings=8192)),
    "qwen2.5-0.5b": (Qwen2Config, Qwen2ForCausalLM, shape(
        896, 4864, 24, 14, 2, 151936, tie_word_embeddings=True, rope_theta=1000000.0,
        rms_norm_eps=1e-6, max_position_embeddings=32768)),
    "qwen3-0.6b": (Qwen3Config, Qwen3ForCausalLM, shape(
        1024, 3072, 28, 16, 8, 151936, head_dim=128, tie_word_embeddings=True,
        rope_theta=1000000.0, rms_norm_eps=1e-6, max_position_embeddings=40960)),
    "llama-3.2-1b": (LlamaConfig, LlamaForCausalLM, shape(
        2048, 8192, 16, 32, 8, 128256, head_dim=64, tie_word_embeddings=True, rope_theta=500000.0,
        rope_scaling=dict(LLAMA3_ROPE, factor=32.0), max_position_embeddings=131072)),
    "llama-3.1-8b, 8 layers": (LlamaConfig, LlamaForCausalLM, shape(
        4096, 14336, 8, 32, 8, 128256, tie_word_embeddings=False, rope_theta=500000.0,
        rope_scaling=LLAMA3_ROPE, max_position_embeddings=131072)),
    "mistral-7b, 4 layers": (MistralConfig, MistralForCausalLM, shape(
        4096, 14336, 4, 32, 8, 32000, tie_word_embeddings=False, rope_theta=10000.0,
        sliding_window=None, max_position_embeddings=32768)),
}


def make(name, seed):
    config_cls, model_cls, args = MODELS[name]
    torch.manual_seed(seed)
    with torch.device("cuda"):
        model = model_cls(config_cls(**args))
        for key, p in model.named_parameters():  # nothing may stay at a value that hides a mistake
            if key.endswith("bias"):
                p.data.normal_(0, 0.5)
            elif "norm" in key:
                p.data.uniform_(0.8, 1.2)
    return cast(model, torch.bfloat16).eval()


def cast(model, dtype):
    """Parameters alone: rotary frequencies are buffers, and stay in float32 as when loaded."""
    for p in model.parameters():
        p.data = p.data.to(dtype)
    return model


def reference(model, ids):
    with torch.no_grad():
        return model(input_ids=ids[None]).logits[0].float()


def read_records(path, vocab):
    raw = np.fromfile(path, dtype=np.int32).reshape(-1, vocab + 2)
    return raw[:, 0], raw[:, 1], torch.from_numpy(raw[:, 2:].copy().view(np.float32)).cuda()


def cosine(a, b):
    return torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=-1)


def check(name, run, folder):
    t0 = time.time()
    model = make(name, 11)
    model.save_pretrained(folder)
    vocab = model.config.vocab_size
    ids = torch.randint(0, vocab, (N_IDS,), device="cuda")
    half = reference(model, ids)
    full = reference(cast(model, torch.float32), ids)
    del model
    torch.cuda.empty_cache()
    t1 = time.time()
    ids_path, out_path = os.path.join(folder, "ids.bin"), os.path.join(folder, "logits.bin")
    ids.cpu().numpy().astype(np.int32).tofile(ids_path)
    done = subprocess.run(shlex.split(run) + [folder, "cuda", ids_path, out_path],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        print(f"{name}: exit {done.returncode}: {done.stderr[-2000:]}")
        return False
    pos, phase, got = read_records(out_path, vocab)
    want = full[torch.from_numpy(pos.astype(np.int64)).cuda()]
    cos = cosine(got, want).cpu().numpy()
    own = cosine(half, full).min().item()
    agree = (got.argmax(-1) == want.argmax(-1)).cpu().numpy()
    theirs = (half.argmax(-1) == full.argmax(-1)).float().mean().item()
    low = [cos[phase == p].min() for p in range(3)]
    print(json.dumps({
        "model": name, "positions": len(pos), "cos_prefill_packed": round(float(low[0]), 6),
        "cos_prefill_chunks": round(float(low[1]), 6), "cos_decode": round(float(low[2]), 6),
        "cos_transformers_bf16": round(own, 6), "greedy_equal": f"{agree.sum()}/{len(agree)}",
        "greedy_transformers_bf16": round(theirs, 3), "load": done.stdout.strip().splitlines()[-1],
        "reference_s": round(t1 - t0, 1)}), flush=True)
    return bool(np.isfinite(cos).all() and min(low) >= LIMIT)


def main():
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    names = [n for n in MODELS if len(sys.argv) < 3 or any(n.startswith(a) for a in sys.argv[2:])]
    good = True
    base = "/dev/shm" if os.path.isdir("/dev/shm") else None
    for name in names:
        folder = tempfile.mkdtemp(prefix="quire-logits-", dir=base)
        try:
            good &= check(name, sys.argv[1], folder)
        finally:
            shutil.rmtree(folder)
    print("every position at or above" if good else "NOT every position at or above", LIMIT)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
