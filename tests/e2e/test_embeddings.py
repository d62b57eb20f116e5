# SPDX-License-Identifier: Apache-2.0
"""Embeddings through the unmodified official client, against an independent reference.

tests/fixtures/smollm2_embed.json (scripts/gen_golden.py: transformers, the same GGUF, float32) has texts, their ids,
and the last hidden state after the model's last norm: that of the last token, and the mean over all.
"""
import asyncio
import base64
import json
import math
import pathlib
import struct

import openai
import pytest

from conftest import serve

CASES = json.loads((pathlib.Path(__file__).parents[1] / "fixtures/smollm2_embed.json").read_text())
DIM = 576
COSINE, APART = 1 - 1e-9, 5e-4  # measured: 1 - 1.8e-12, 6.9e-5


def floats(b64):
    raw = base64.b64decode(b64)
    return struct.unpack(f"<{len(raw) // 4}f", raw)


def unit(v):
    n = math.sqrt(sum(x * x for x in v))
    return [x / n for x in v]


def cosine(a, b):
    return sum(x * y for x, y in zip(unit(a), unit(b)))


def apart(a, b):
    assert len(a) == len(b)
    return max(abs(x - y) for x, y in zip(a, b))


def embed(client, model, value, **kw):
    extra = {k: kw.pop(k) for k in ("pooling", "normalize", "truncate_prompt_tokens", "add_special_tokens") if k in kw}
    return client.embeddings.create(model=model, input=value, extra_body=extra, **kw)


def rows(r):
    assert r.object == "list" and [d.index for d in r.data] == list(range(len(r.data)))
    assert all(d.object == "embedding" for d in r.data)
    return [d.embedding for d in r.data]


def cached(r):
    return r.usage.model_extra["prompt_tokens_details"]["cached_tokens"]


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_reference(client, model, pooling):
    texts = [c["text"] for c in CASES]
    ids = [c["ids"] for c in CASES]
    want = [floats(c[pooling]) for c in CASES]
    assert max(len(i) for i in ids) > 600
    got = rows(embed(client, model, texts, pooling=pooling, normalize=False))
    worst = min(cosine(g, w) for g, w in zip(got, want)), max(apart(g, w) for g, w in zip(got, want))
    print(f"{pooling}: {len(texts)} texts, least cosine 1 - {1 - worst[0]:.1e}, most apart {worst[1]:.1e}")
    assert worst[0] >= COSINE and worst[1] <= APART
    # ids instead of texts, one at a time, and of length one
    for i, w in zip(ids, want):
        r = embed(client, model, i, pooling=pooling)
        assert r.usage.prompt_tokens == r.usage.total_tokens == len(i)
        assert apart(rows(r)[0], unit(w)) <= 1e-4
        assert abs(sum(x * x for x in rows(r)[0]) - 1) < 1e-5


def test_encodings(client, model):
    """The client asks for base64 unless told; both are the same floats."""
    texts = [c["text"] for c in CASES[:4]]
    default = rows(embed(client, model, texts))
    number = rows(embed(client, model, texts, encoding_format="float"))
    raw = rows(embed(client, model, texts, encoding_format="base64"))
    assert all(isinstance(v, str) for v in raw)
    for d, n, b in zip(default, number, raw):
        assert len(d) == len(n) == DIM
        assert struct.pack(f"<{DIM}f", *d) == struct.pack(f"<{DIM}f", *n) == base64.b64decode(b)


def test_dimensions(client, model):
    """The first so many, and those of length one."""
    whole = rows(embed(client, model, "hello world", normalize=False))[0]
    for d in (1, 2, 3, 64, DIM):
        assert apart(rows(embed(client, model, "hello world", dimensions=d))[0], unit(whole[:d])) < 1e-6
        assert rows(embed(client, model, "hello world", dimensions=d, normalize=False))[0] == whole[:d]
    for d in (0, DIM + 1):
        with pytest.raises(openai.BadRequestError) as e:
            embed(client, model, "hello world", dimensions=d)
        assert e.value.param == "dimensions"


def test_cache(client, model):
    """A mean needs all tokens; the last state needs the last one."""
    ids = [(7 * k) % 4000 + 40 for k in range(200)]
    last, again = (embed(client, model, ids) for _ in range(2))
    mean = [embed(client, model, ids, pooling="mean") for _ in range(2)]
    assert cached(last) == 0 and cached(again) >= 190
    assert [cached(m) for m in mean] == [0, 0]
    assert apart(rows(last)[0], rows(again)[0]) < 1e-6 and rows(mean[0]) == rows(mean[1])
    chat = client.completions.create(model=model, prompt=ids, max_tokens=1)  # the pages are anybody's of the tenant
    assert chat.usage.prompt_tokens_details.cached_tokens >= 190


def test_truncation(client, model):
    ids = CASES[-1]["ids"]
    cut = embed(client, model, [ids, ids[:5]], truncate_prompt_tokens=50)
    assert cut.usage.prompt_tokens == 55
    assert apart(rows(cut)[0], rows(embed(client, model, ids[-50:]))[0]) < 1e-6


def test_many_inputs_and_neighbours(client, model, server):
    """More inputs than the server has places, beside a stream; and one too many."""
    async def go():
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=300) as c:
            stream = await c.completions.create(model=model, prompt="Once", max_tokens=40, stream=True,
                                                extra_body={"ignore_eos": True})
            many = asyncio.create_task(c.embeddings.create(model=model, input=[[40 + k % 900, 41] for k in range(2048)],
                                                           dimensions=4))
            chunks = [x async for x in stream]
            return len(chunks), await many
    n, r = asyncio.run(go())
    assert n == 40 and len(rows(r)) == 2048 and r.usage.prompt_tokens == 4096
    assert apart(r.data[3].embedding, r.data[903].embedding) < 1e-5
    assert apart(r.data[7].embedding, rows(embed(client, model, [47, 41], dimensions=4))[0]) < 1e-5
    with pytest.raises(openai.BadRequestError) as e:
        embed(client, model, ["a"] * 2049)
    assert e.value.param == "input"


def test_default_pooling():
    with serve("model.pooling=mean", "drain.delay=0") as s:
        c = openai.OpenAI(base_url=s.url + "/v1", api_key="none", max_retries=0, timeout=300)
        name = c.models.list().data[0].id
        text = CASES[2]
        assert apart(rows(embed(c, name, text["text"]))[0], unit(floats(text["mean"]))) < 1e-4
        assert apart(rows(embed(c, name, text["text"], pooling="last"))[0], unit(floats(text["last"]))) < 1e-4
