# SPDX-License-Identifier: Apache-2.0
"""The whole way against an independent reference: messages in, template, tokenizer, engine, model, text out.

tests/fixtures/smollm2_greedy.json (scripts/gen_golden.py: transformers, the same GGUF, float32) has 20 chats,
their prompt ids and 64 greedy tokens with the reference's margin between its two best logits.
"""
import concurrent.futures as cf
import json
import pathlib

CASES = json.loads((pathlib.Path(__file__).parents[1] / "fixtures/smollm2_greedy.json").read_text())
MARGIN = 1e-3  # below it either token is right, and the answers may part


def answer(client, model, case):
    r = client.chat.completions.create(model=model, messages=case["messages"], max_tokens=64, temperature=0,
                                       logprobs=True, extra_body={"ignore_eos": True, "skip_special_tokens": False})
    return r.usage.prompt_tokens, [t.bytes for t in r.choices[0].logprobs.content], r.choices[0].message.content


def test_twenty_chats(client, model):
    assert len(CASES) == 20

    def post(path, body):
        return client.post(path, cast_to=object, body=body)

    compared = close = 0
    with cf.ThreadPoolExecutor(20) as ex:
        got = list(ex.map(lambda c: answer(client, model, c), CASES))
    for case, (n_prompt, pieces, text) in zip(CASES, got):
        ids = post("/tokenize", {"messages": case["messages"], "add_generation_prompt": True})["tokens"]
        assert ids == case["prompt_ids"] and n_prompt == len(ids)
        assert len(pieces) == 64
        for i, (token, margin) in enumerate(zip(case["output_ids"], case["margins"])):
            if margin <= MARGIN:
                close += 1
                break
            assert bytes(pieces[i]).decode(errors="replace") == post("/detokenize", {"tokens": [token]})["prompt"], i
            compared += 1
        else:
            assert text == post("/detokenize", {"tokens": case["output_ids"]})["prompt"]
    print(f"reference: {compared} tokens compared, {close} answers cut at a margin of at most {MARGIN}")
    assert compared >= 1200
