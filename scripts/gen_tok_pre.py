#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write tests/fixtures/text/pre.jsonl.xz: what the split rules that GGUF only names must give.

    pip install tokenizers
    gen_tok_pre.py tests/fixtures/text

Each line is one rule: the pre_tokenizer and normalizer of a published tokenizer.json of that family
around the vocabulary of the smollm2 fixture, and the reference library's ids of some texts.
"""
import json
import lzma
import os
import random
import sys

from tokenizers import Tokenizer

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + TAIL
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + TAIL
QWEN35 = (CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
CASED = (r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-"
         "\u1F7Dᾀ-ᾴᾶ-ᾼ\u1FBEῂ-ῄῆ-ῌῐ-\u1FD3ῖ-\u1FDBῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212A-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳ"
         "Ꙁ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+")
HAN_HANGUL = "[一-龥\u0800-一가-\ud7ff]+"
DIGITS = {"type": "Digits", "individual_digits": True}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
GPT2 = dict(BYTES, use_regex=True)


def split(regex):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


BLOOM = " ?[^(\\s|[.,!?…。，、।۔،])]+"
# name: (steps, NFC, ignore_merges)
RULES = {
    "gpt-2": ([GPT2], False, False),
    "smollm": ([DIGITS, GPT2], False, False),
    "starcoder": ([DIGITS, GPT2], False, False),
    "command-r": ([DIGITS, GPT2], True, False),
    "llama-bpe": ([split(LLAMA3), BYTES], False, True),
    "glm4": ([split(LLAMA3), BYTES], False, True),
    "dbrx": ([split(LLAMA3), BYTES], False, False),
    "qwen2": ([split(QWEN2), BYTES], True, False),
    "qwen35": ([split(QWEN35), BYTES], True, False),
    "deepseek-coder": ([split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"),
                        split(HAN_HANGUL), DIGITS, BYTES], False, False),
    "deepseek-llm": ([split("[\r\n]"), split(CASED), split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
                      split(r"\s+$"), split(HAN_HANGUL), DIGITS, BYTES], False, False),
    "bloom": ([split(BLOOM), BYTES], False, False),
    "viking": ([split(BLOOM), DIGITS, BYTES], False, False),
}


def texts(root):
    path = os.path.join(root, "goldens", "encode.smollm2.jsonl.xz")
    rows = [json.loads(line) for line in lzma.open(path, "rt")]
    rows = [r["text"] for r in rows if "<|" not in r["text"] and len(r["text"]) < 200
            and "\0" not in r["text"] and r["cat"] != "nfc_unicode9"]
    return random.Random(7).sample(rows, 160) + [
        "Price: $1234567.89!! (approx.) -- don't we'LL I'VE 's 'S", "a b  c   d \t\n\n e \r\n f   ",
        "Grüße Ωμέγα ὼώᾠ Ⴀ ꭰ Ａｂ ǅ ΐ Ῑ K Ω", "한국어 텍스트 123 漢字かな交じり文 ー々〆", "مرحبا، بالعالم۔ नमस्ते। हिन्दी",
        "e\u0301cole cafe\u0301 \u0928\u093f\u092e \u0e01\u0e33", "foo_bar(baz)[i+1] = {x: 10_000};  // ok\n\tif (a && b) {}",
        "１２３ ４ ²³ ⅷ Ⅻ 0x1F 3.14e-10", "trailing space ", " \n", "\n \n", "  ", "...,,,!!!???…。，、"]


def main():
    root = sys.argv[1]
    base = json.load(lzma.open(os.path.join(root, "tokenizers", "smollm2", "tokenizer.json.xz")))
    sample = texts(root)
    with lzma.open(os.path.join(root, "pre.jsonl.xz"), "wt", preset=9) as out:
        for name, (steps, nfc, ignore) in RULES.items():
            base["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
            base["normalizer"] = {"type": "NFC"} if nfc else None
            base["model"]["ignore_merges"] = ignore
            tok = Tokenizer.from_str(json.dumps(base))
            cases = [{"text": t, "ids": tok.encode(t, add_special_tokens=False).ids} for t in sample]
            out.write(json.dumps({"pre": name, "cases": cases}) + "\n")


if __name__ == "__main__":
    main()
