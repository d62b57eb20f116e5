# SPDX-License-Identifier: Apache-2.0
"""A Hugging Face folder small enough that a token costs microseconds: one llama layer of width 32.

There are no weights in it: quired fills them from a seed (model.load_format=dummy). The tokenizer is
byte-level BPE with one token a byte, so that a prompt's length is its number of bytes, and doublings of
"z" up to one token of 128 characters, for answers that are much larger than their requests.
    python tests/wire/tiny.py FOLDER      writes the folder
"""

import json
import pathlib
import sys

SPECIALS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
BOS, EOS, IM_START, IM_END = range(4)
MAX_LEN = 65536
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_alphabet():
    """The printable character that stands for each byte in a byte-level vocabulary (GPT-2's rule)."""
    keep = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = iter(range(256, 512))
    return [chr(b) if b in keep else chr(next(rest)) for b in range(256)]


def tokenizer():
    vocab = {s: i for i, s in enumerate(SPECIALS)}
    for c in byte_alphabet():
        vocab[c] = len(vocab)
    merges, piece = [], "z"
    for _ in range(7):
        merges.append(f"{piece} {piece}")
        piece += piece
        vocab[piece] = len(vocab)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": i,
                "content": s,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for i, s in enumerate(SPECIALS)
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": vocab,
            "merges": merges,
        },
    }


def token_id(text):
    """The id of one byte's character, or of a run of "z" of 2, 4 ... 128 characters."""
    if len(text) > 1:
        return len(SPECIALS) + 256 + len(text).bit_length() - 2
    return len(SPECIALS) + ord(text)


VOCAB = len(SPECIALS) + 256 + 7


def write(folder, **other):
    """Write the folder (or leave an equal one as it is); `other` changes config.json. Returns its path as text."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "vocab_size": VOCAB,
        "max_position_embeddings": MAX_LEN,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "bos_token_id": BOS,
        "eos_token_id": IM_END,
        "torch_dtype": "float32",
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        **other,
    }
    tok_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "<|im_end|>",
        "add_bos_token": False,
        "chat_template": TEMPLATE,
        "clean_up_tokenization_spaces": False,
    }
    for name, value in (
        ("config.json", config),
        ("tokenizer.json", tokenizer()),
        ("tokenizer_config.json", tok_config),
    ):
        text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    return str(folder)


if __name__ == "__main__":
    print(write(sys.argv[1]))
