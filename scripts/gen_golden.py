#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the reference values of the model tests, computed by other people's code.

    pip install torch transformers gguf accelerate       (CPU builds do)
    gen_golden.py families tests/fixtures/model [NAME]   tiny random models, logits, greedy tokens
    gen_golden.py rope     tests/fixtures/model          inverse frequencies of rotary variants
    gen_golden.py dequant  tests/fixtures/model          quantised blocks and their values
    gen_golden.py smollm2  MODEL.gguf tests/fixtures     20 chat prompts, 64 greedy tokens each
    gen_golden.py loglik   MODEL.gguf tests/fixtures     100 cases of context and continuation
    gen_golden.py embed    MODEL.gguf tests/fixtures     12 texts, last and mean hidden state
    gen_golden.py compare  MODEL.gguf                    transformers' dequantisation vs. gguf-py's

Everything is seeded, so a second run gives the same files with the same library versions.
"""
import argparse
import base64
import json
import os
import pathlib
import shutil

import numpy as np
import torch

torch.set_grad_enabled(False)

N_GREEDY = 16
PROMPT = 37
POSITIONS = [0, 1, 15, 16, 30, 36]
LLAMA3_ROPE = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 32}

# name: (model_type, storage type, rope, further configuration)
FAMILIES = {
    "llama2": ("llama", torch.float32, {"rope_theta": 10000.0}, dict(
        hidden_size=24, intermediate_size=48, num_hidden_layers=3, num_attention_heads=3,
        num_key_value_heads=3, head_dim=16, vocab_size=131)),
    "llama3": ("llama", torch.bfloat16, {"rope_theta": 500000.0, **LLAMA3_ROPE}, dict(
        hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=1, head_dim=64, vocab_size=150)),
    "smollm2": ("llama", torch.bfloat16, {"rope_theta": 100000.0}, dict(
        hidden_size=24, intermediate_size=64, num_hidden_layers=2, num_attention_heads=3,
        num_key_value_heads=1, head_dim=64, vocab_size=144, tie_word_embeddings=True)),
    "llama_bias": ("llama", torch.float16, {"rope_theta": 10000.0, "rope_type": "linear",
                                            "factor": 2.0}, dict(
        hidden_size=40, intermediate_size=56, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, head_dim=32, vocab_size=101, attention_bias=True, mlp_bias=True)),
    "mistral": ("mistral", torch.bfloat16, {"rope_theta": 1000000.0}, dict(
        hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=80, vocab_size=160, sliding_window=None)),
    "qwen2": ("qwen2", torch.bfloat16, {"rope_theta": 1000000.0}, dict(
        hidden_size=40, intermediate_size=72, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=96, vocab_size=157, tie_word_embeddings=True,
        use_sliding_window=False)),
    "qwen3": ("qwen3", torch.bfloat16, {"rope_theta": 1000000.0}, dict(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=128, vocab_size=140)),
    "qwen3_tied": ("qwen3", torch.bfloat16, {"rope_theta": 1000000.0}, dict(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=3,
        num_key_value_heads=1, head_dim=256, vocab_size=120, tie_word_embeddings=True)),
}


def write_json(path, value, indent=None):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=indent, separators=None if indent else (",", ":"))
        f.write("\n")


def config_of(model_type, rope, extra):
    from transformers import AutoConfig
    return AutoConfig.for_model(model_type, max_position_embeddings=256, rms_norm_eps=1e-5,
                                bos_token_id=1, eos_token_id=2, pad_token_id=None,
                                rope_parameters={"rope_type": "default", **rope}, **extra)


def randomise(model, seed):
    """Weights with which every part of the network matters and logits are far apart."""
    g = torch.Generator().manual_seed(seed)
    for name, p in sorted(model.named_parameters()):
        r = torch.randn(p.shape, generator=g)
        if "norm" in name:
            p.copy_(1 + 0.2 * r)
        elif p.dim() == 1:
            p.copy_(0.3 * r)
        elif "embed" in name:
            p.copy_(r * 0.5)
        else:
            p.copy_(r * 1.3 / p.shape[1] ** 0.5)


def margin(logits):
    top = torch.topk(logits, 2).values
    return float(top[0] - top[1])


def greedy(model, prompt, n):
    ids, margins = list(prompt), []
    for _ in range(n):
        logits = model(torch.tensor([ids])).logits[0, -1].float()
        margins.append(margin(logits))
        ids.append(int(logits.argmax()))
    return ids[len(prompt):], margins


def rope_v4(cfg):
    """The same configuration as transformers 4 wrote it: flat rope_theta, rope_scaling."""
    rope = dict(cfg.pop("rope_parameters"))
    cfg["rope_theta"] = rope.pop("rope_theta")
    cfg["rope_scaling"] = rope if rope.get("rope_type") != "default" else None
    if "dtype" in cfg:
        cfg["torch_dtype"] = cfg.pop("dtype")
    return cfg


def family(name, out):
    from transformers import AutoModelForCausalLM
    model_type, dtype, rope, extra = FAMILIES[name]
    cfg = config_of(model_type, rope, extra)
    folder = out / name
    shard = {"max_shard_size": "60KB"} if name == "mistral" else {}
    for seed in range(1, 1000):
        shutil.rmtree(folder, ignore_errors=True)
        model = AutoModelForCausalLM.from_config(cfg)
        randomise(model, seed)
        model.to(dtype).save_pretrained(folder, **shard)
        # Loaded back: a cast of the model in memory would round the rotary frequencies too.
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                     attn_implementation="eager").eval()
        rng = np.random.default_rng(seed)
        prompt = [int(x) for x in rng.integers(0, cfg.vocab_size, PROMPT)]
        tokens, margins = greedy(model, prompt, N_GREEDY)
        if min(margins) > 0.02 and len(set(tokens)) > 3:
            break
    logits = model(torch.tensor([prompt])).logits[0].float()
    written = json.loads((folder / "config.json").read_text())
    if name in ("llama3", "llama_bias", "qwen2"):
        write_json(folder / "config.json", rope_v4(written), indent=2)
    rows = [[float(f"{float(v):.7g}") for v in logits[p]] for p in POSITIONS]
    write_json(folder / "golden.json", {"prompt": prompt, "positions": POSITIONS, "logits": rows,
                                        "greedy": tokens})
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name}: seed {seed}, smallest margin {min(margins):.3f}, largest logit "
          f"{float(logits.abs().max()):.2f}, {size} bytes")


def cmd_families(a):
    for name in a.names or FAMILIES:
        family(name, pathlib.Path(a.out))


ROPES = [
    ("plain", "llama", 64, 4096, {"rope_theta": 10000.0}),
    ("plain_theta", "qwen2", 128, 32768, {"rope_theta": 1000000.0}),
    ("plain_256", "mistral", 256, 8192, {"rope_theta": 1000000.0}),
    ("linear", "llama", 80, 8192, {"rope_theta": 10000.0, "rope_type": "linear", "factor": 4.0}),
    ("llama3_8b", "llama", 128, 131072, {
        "rope_theta": 500000.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}),
    ("llama3_1b", "llama", 64, 131072, {
        "rope_theta": 500000.0, "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}),
    ("yarn", "qwen2", 128, 131072, {
        "rope_theta": 1000000.0, "rope_type": "yarn", "factor": 4.0,
        "original_max_position_embeddings": 32768}),
    ("yarn_full", "llama", 96, 65536, {
        "rope_theta": 10000.0, "rope_type": "yarn", "factor": 16.0, "beta_fast": 24.0,
        "beta_slow": 2.0, "attention_factor": 1.25, "original_max_position_embeddings": 4096}),
    ("yarn_mscale", "llama", 64, 163840, {
        "rope_theta": 10000.0, "rope_type": "yarn", "factor": 40.0, "mscale": 1.0,
        "mscale_all_dim": 0.707, "truncate": False, "original_max_position_embeddings": 4096}),
]


def cmd_rope(a):
    from transformers import AutoConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
    rows = []
    for name, model_type, head_dim, length, rope in ROPES:
        cfg = AutoConfig.for_model(model_type, hidden_size=head_dim * 4, num_attention_heads=4,
                                   num_key_value_heads=4, head_dim=head_dim, num_hidden_layers=2,
                                   intermediate_size=256, vocab_size=1000,
                                   max_position_embeddings=length,
                                   rope_parameters={"rope_type": "default", **rope})
        emb = LlamaRotaryEmbedding(cfg)
        keep = ["model_type", "hidden_size", "num_attention_heads", "num_key_value_heads",
                "head_dim", "num_hidden_layers", "intermediate_size", "vocab_size", "hidden_act",
                "max_position_embeddings", "rms_norm_eps", "rope_parameters"]
        full = cfg.to_dict()
        new = {k: full[k] for k in keep}
        if model_type == "mistral":  # whose class has a window where the file is silent
            new = {"model_type": model_type, "sliding_window": None, **new}
        for style, config in (("", new), ("_v4", rope_v4(dict(new)))):
            rows.append({"name": name + style, "config": config,
                         "inv_freq": [float(f"{float(v):.9g}") for v in emb.inv_freq],
                         "attention_factor": float(emb.attention_scaling)})
    write_json(pathlib.Path(a.out) / "rope.json", rows)


def cmd_dequant(a):
    import gguf
    from gguf import quants
    rng = np.random.default_rng(11)
    half_at = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
               "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
    out = {}
    for name, halves in half_at.items():
        kind = gguf.GGMLQuantizationType[name]
        elems, size = gguf.GGML_QUANT_SIZES[kind]
        n = 6 if elems == 32 else 2
        blocks = rng.integers(0, 256, (n, size), dtype=np.uint8)
        for at in halves:  # finite scales of ordinary size, one subnormal, one zero
            h = (rng.standard_normal(n) * 0.05).astype(np.float16)
            h[0] = np.float16(3e-7) if at else h[0]
            h[1] = np.float16(0.0) if elems == 32 and not at else h[1]
            blocks[:, at:at + 2] = h.view(np.uint8).reshape(n, 2)
        values = quants.dequantize(blocks, kind).astype(np.float32)
        out[name] = {"bytes": blocks.tobytes().hex(), "f32": values.tobytes().hex()}
    for name, dtype in (("F16", np.float16),):
        v = np.concatenate([rng.standard_normal(26), [0.0, -0.0, 6e-8, 65504.0, np.inf, -np.inf]])
        v = v.astype(dtype)
        out[name] = {"bytes": v.tobytes().hex(), "f32": v.astype(np.float32).tobytes().hex()}
    bits = rng.integers(0, 1 << 16, 32, dtype=np.uint16)
    bits[(bits & 0x7F80) == 0x7F80] = 0x3F80
    wide = bits.astype(np.uint32) << 16
    out["BF16"] = {"bytes": bits.tobytes().hex(), "f32": wide.tobytes().hex()}
    write_json(pathlib.Path(a.out) / "dequant.json", out)


QUESTIONS = [
    "What is the capital of France?",
    "Explain gravity to a ten-year-old.",
    "Write a haiku about the sea.",
    "List five uses for a paper clip.",
    "What is 17 + 25?",
    "Translate 'good morning' into Spanish, French and German.",
    "Summarise the story of Cinderella in three sentences.",
    "Write a Python function that reverses a string.",
    "Why is the sky blue?",
    "Give me a recipe for pancakes.",
    "Who wrote 'Pride and Prejudice'?",
    "How do I tie a bow tie?",
    "Name three planets that are larger than Earth.",
    "What does the word 'serendipity' mean?",
    "Was bedeutet das Wort \u201eGem\u00fctlichkeit\u201c?",
    "Write an email asking for a day off on 24 December 2025.",
]


def conversations():
    talks = [[{"role": "user", "content": q}] for q in QUESTIONS]
    talks.append([{"role": "system", "content": "You answer in one short sentence."},
                  {"role": "user", "content": "What is photosynthesis?"}])
    talks.append([{"role": "user", "content": "My name is Ada."},
                  {"role": "assistant", "content": "Nice to meet you, Ada!"},
                  {"role": "user", "content": "What is my name?"}])
    talks.append([{"role": "system", "content": "You are a pirate."},
                  {"role": "user", "content": "Tell me about the weather today. \U0001f308"}])
    talks.append([{"role": "user", "content": "Read this text and say what it is about:\n\n" + " ".join(
        f"In the year {1900 + i}, the {w} of the village was painted {c}." for i, (w, c) in enumerate(
            [(w, c) for w in ("church", "school", "bridge", "mill", "inn")
             for c in ("red", "blue", "green", "white")]))}])
    assert len(talks) == 20
    return talks


def load_gguf(path):
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer
    folder, name = os.path.split(os.path.abspath(path))
    tok = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    # The conversion drops the digit split that the model's own tokenizer.json has.
    tok.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32,
                                                 attn_implementation="eager")
    return tok, model.eval()


def greedy_cached(model, prompt, n):
    out, margins, past, ids = [], [], None, torch.tensor([prompt])
    for _ in range(n):
        r = model(ids, past_key_values=past, use_cache=True)
        past, logits = r.past_key_values, r.logits[0, -1].float()
        margins.append(float(f"{margin(logits):.4g}"))
        out.append(int(logits.argmax()))
        ids = torch.tensor([[out[-1]]])
    return out, margins


def cmd_smollm2(a):
    tok, model = load_gguf(a.gguf)
    rows = []
    for messages in conversations():
        text = tok.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        prompt = tok.encode(text, add_special_tokens=False)
        out, margins = greedy_cached(model, prompt, 64)
        rows.append({"messages": messages, "prompt_ids": prompt, "output_ids": out,
                     "margins": margins})
        print(len(prompt), f"{min(margins):.4f}", repr(tok.decode(out))[:100], flush=True)
    with open(pathlib.Path(a.out) / "smollm2_greedy.json", "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n")


STEMS = [
    ("Question: What do plants need to make sugar?\nAnswer:", "sunlight", "moonlight", "salt", "wind from the sea"),
    ("Question: Which animal lays eggs?\nAnswer:", "a hen", "a dog", "a cow", "a mouse and an elephant"),
    ("Question: What is frozen water called?\nAnswer:", "ice", "steam", "fog", "sand"),
    ("Question: Which of these is a planet?\nAnswer:", "Saturn", "the Moon", "Sirius", "Halley's comet"),
    ("Question: How many legs has a spider?\nAnswer:", "8", "6", "4", "100"),
    ("The opposite of 'hot' is", "cold", "warm", "boiling", "green"),
    ("The boy dropped the glass on the stone floor and it", "broke.", "flew away.", "sang.", "became a cat."),
    ("She was tired, so she went to", "bed.", "work at once.", "the moon.", "1,000 parties in one night."),
    ("To boil an egg, first", "put water in a pot.", "paint the wall.", "sell the house.", "open a bank account."),
    ("Berlin is the capital of", "Germany", "France", "Japan", "Brazil, I think"),
    ("Two plus two is", "four", "five", "twenty-two", "a colour"),
    ("def add(a, b):\n    return", "a + b", "a - b", "None", "print(a)\n"),
    ("for (int i = 0; i < n;", "i++)", "i--)", "n = 0)", "return)"),
    ("Der Hund schl\u00e4ft auf dem", "Sofa", "Mond", "Wasser", "Gedanken"),
    ("Le chat boit du", "lait", "sable", "feu", "dictionnaire"),
    ("\u4eca\u5929\u5929\u6c14\u5f88", "\u597d", "\u51b7", "\u9ad8\u5174", "\u732b"),
    ("I love pizza \U0001f355 and", "pasta", "\U0001f602", "gravity", "the number 17"),
    ("Monday, Tuesday, Wednesday,", "Thursday", "Friday", "March", "blue"),
    ("1, 1, 2, 3, 5, 8,", "13", "11", "8", "1000000"),
    ("Once upon a", "time", "table", "Tuesday", "banana, there was a king"),
    ("The quick brown fox jumps over the lazy", "dog", "cat", "river", "mathematician"),
    ("Ice is colder than", "water", "snow", "the South Pole", "a promise"),
    ("import numpy as", "np", "numpy", "pd", "a fruit"),
    ("A triangle has", "three sides", "four sides", "no sides", "a long beard"),
]
LONG = [("What is this text about?", "a village", "a war", "a recipe for soup", "painting")]


def loglik_cases():
    """(context, continuation), four to a context; the last four are longer than a chunk of a prefill."""
    text = " ".join(f"In the year {1900 + i}, the {w} of the village was painted {c}." for i, (w, c) in enumerate(
        [(w, c) for w in ("church", "school", "bridge", "mill", "inn") for c in ("red", "blue", "green", "white")]))
    stems = STEMS + [(f"{text} {text}\n\nQuestion: {q}\nAnswer:", *rest) for q, *rest in LONG]
    cases = [(s, " " + c) for s, *rest in stems for c in rest]
    assert len(cases) == 100
    return cases


def cmd_loglik(a):
    tok, model = load_gguf(a.gguf)
    rows = []
    for context, continuation in loglik_cases():
        head = tok.encode(context, add_special_tokens=False)
        ids = tok.encode(context + continuation, add_special_tokens=False)
        assert ids[:len(head)] == head and len(ids) > len(head)
        logits = model(torch.tensor([ids])).logits[0, len(head) - 1:-1].double()
        lp = torch.log_softmax(logits, -1)
        tail = torch.tensor(ids[len(head):])
        mine = lp.gather(1, tail[:, None])[:, 0]
        rank = (lp > mine[:, None]).sum(1) + 1
        best = lp.topk(2).values
        rows.append({"context": context, "continuation": continuation, "ids": ids, "n_context": len(head),
                     "logprobs": [round(float(x), 6) for x in mine], "ranks": rank.tolist(),
                     "best": [round(float(x), 6) for x in best[:, 0]],
                     "margins": [round(float(x), 6) for x in best[:, 0] - best[:, 1]]})
        print(len(ids), f"{float(mine.sum()):.3f}", repr(continuation), flush=True)
    with open(pathlib.Path(a.out) / "smollm2_loglik.json", "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n")


def texts():
    lines = [f"{i}. The {a} {n} of {p} was seen again." for i, (a, n, p) in enumerate(
        [(a, n, p) for a in ("old", "grey", "quiet") for n in ("heron", "ferry", "lamp", "clock")
         for p in ("Delft", "Porto", "Kyoto", "Quito", "Turku")])]
    return ["a", "hello world", "The cat sat on the mat.", "A cat was sitting on a rug.",
            "Quarterly revenue fell by 12.5 % to 3,400,000 EUR.", "na\u00efve caf\u00e9 \U0001f308 \u4f60\u597d",
            "def add(a, b):\n    return a + b\n", "   two  spaces   and a tab\there ",
            "What is photosynthesis?", " ".join(lines[:10]), "\n".join(lines), " ".join(lines[:37])]


def cmd_embed(a):
    tok, model = load_gguf(a.gguf)

    def f32(v):
        return base64.b64encode(v.numpy().astype("<f4").tobytes()).decode()

    rows = []
    for text in texts():
        ids = tok.encode(text, add_special_tokens=True)
        state = model.model(torch.tensor([ids])).last_hidden_state[0].float()  # after the last norm
        rows.append({"text": text, "ids": ids, "last": f32(state[-1]), "mean": f32(state.mean(0))})
        print(len(ids), repr(text)[:80], flush=True)
    with open(pathlib.Path(a.out) / "smollm2_embed.json", "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n")


def cmd_compare(a):
    import gguf
    from gguf import quants
    _, model = load_gguf(a.gguf)
    state = model.state_dict()
    names = {"token_embd.weight": "model.embed_tokens.weight",
             "blk.0.ffn_down.weight": "model.layers.0.mlp.down_proj.weight",
             "blk.7.attn_v.weight": "model.layers.7.self_attn.v_proj.weight"}
    for t in gguf.GGUFReader(a.gguf).tensors:
        if t.name in names:
            want = quants.dequantize(t.data, t.tensor_type)
            got = state[names[t.name]].numpy()
            print(t.name, t.tensor_type.name, "equal" if np.array_equal(want, got) else
                  f"largest difference {np.abs(want - got).max()}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    sub = p.add_subparsers(required=True)
    for name in ("families", "rope", "dequant"):
        q = sub.add_parser(name)
        q.add_argument("out")
        q.set_defaults(run=globals()["cmd_" + name])
        if name == "families":
            q.add_argument("names", nargs="*", help="these only")
    for name in ("smollm2", "loglik", "embed"):
        q = sub.add_parser(name)
        q.add_argument("gguf")
        q.add_argument("out")
        q.set_defaults(run=globals()["cmd_" + name])
    q = sub.add_parser("compare")
    q.add_argument("gguf")
    q.set_defaults(run=cmd_compare)
    a = p.parse_args()
    a.run(a)


main()
