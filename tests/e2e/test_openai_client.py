# SPDX-License-Identifier: Apache-2.0
"""The official openai client, unmodified, against the real daemon and model."""
import concurrent.futures as cf

import openai
import pytest

from conftest import serve

CHAT = [{"role": "user", "content": "What is the capital of France?"}]


def test_models(client, model):
    one = client.models.retrieve(model)
    assert one.id == model and one.object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_completion_stream_equals_plain(client, model):
    for kw in ({"temperature": 0}, {"temperature": 0.8, "seed": 7, "top_p": 0.9},
               {"temperature": 1.0, "seed": 3, "top_k": 20}):
        extra = {"extra_body": {"top_k": kw.pop("top_k")}} if "top_k" in kw else {}
        ask = dict(model=model, prompt="The three primary colours are", max_tokens=40, **kw, **extra)
        plain = client.completions.create(**ask)
        assert plain.object == "text_completion" and plain.usage.completion_tokens <= 40
        text, usage, finish = "", None, None
        for chunk in client.completions.create(stream=True, stream_options={"include_usage": True}, **ask):
            if chunk.choices:
                text += chunk.choices[0].text
                finish = chunk.choices[0].finish_reason or finish
            else:
                usage = chunk.usage
        assert text == plain.choices[0].text
        assert finish == plain.choices[0].finish_reason
        assert usage.completion_tokens == plain.usage.completion_tokens
        assert usage.prompt_tokens == plain.usage.prompt_tokens


def test_chat_is_sensible_and_stream_equals_plain(client, model):
    ask = dict(model=model, messages=CHAT, max_tokens=48, temperature=0)
    plain = client.chat.completions.create(**ask)
    assert "Paris" in plain.choices[0].message.content
    assert plain.choices[0].message.role == "assistant"
    assert plain.usage.total_tokens == plain.usage.prompt_tokens + plain.usage.completion_tokens
    roles, text, finishes = [], "", []
    for chunk in client.chat.completions.create(stream=True, **ask):
        d = chunk.choices[0].delta
        if d.role:
            roles.append(d.role)
        text += d.content or ""
        if chunk.choices[0].finish_reason:
            finishes.append(chunk.choices[0].finish_reason)
    assert roles == ["assistant"] and text == plain.choices[0].message.content
    assert finishes == [plain.choices[0].finish_reason]


def test_n_choices_and_seed(client, model):
    ask = dict(model=model, messages=CHAT, max_tokens=12, temperature=1.0, seed=11, n=3)
    a = client.chat.completions.create(**ask)
    b = client.chat.completions.create(**ask)
    texts = [c.message.content for c in a.choices]
    assert [c.index for c in a.choices] == [0, 1, 2]
    assert texts == [c.message.content for c in b.choices] and len(set(texts)) > 1


def test_stop_and_ignore_eos(client, model):
    ask = dict(model=model, prompt="1, 2, 3, 4, 5, 6,", temperature=0)
    r = client.completions.create(max_tokens=40, stop=[" 9"], **ask)
    assert " 9" not in r.choices[0].text and r.choices[0].finish_reason == "stop"
    r = client.completions.create(max_tokens=60, extra_body={"ignore_eos": True}, **ask)
    assert r.usage.completion_tokens == 60 and r.choices[0].finish_reason == "length"


def test_prompt_forms(client, server, model):
    text = "Hello, world"
    ids = client.post("/tokenize", cast_to=object, body={"prompt": text})["tokens"]
    kw = dict(model=model, max_tokens=8, temperature=0)
    a = client.completions.create(prompt=text, **kw).choices[0].text
    b = client.completions.create(prompt=ids, **kw).choices[0].text
    two = client.completions.create(prompt=[text, text], **kw)
    assert a == b and [c.text for c in two.choices] == [a, a] and [c.index for c in two.choices] == [0, 1]
    back = client.post("/detokenize", cast_to=object, body={"tokens": ids})
    assert back == {"prompt": text}


def test_error_classes(client, server, model):
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(model=model, messages=CHAT, temperature=9)
    assert e.value.code == "invalid_value" and e.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as e:
        client.completions.create(model=model, prompt="x " * 9000, max_tokens=1)
    assert e.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(model=model, messages=CHAT, response_format={"type": "json_object"})
    assert e.value.code == "unsupported_parameter" and e.value.param == "response_format"
    with pytest.raises(openai.NotFoundError) as e:
        client.chat.completions.create(model="nope", messages=CHAT)
    assert e.value.code == "model_not_found"


def test_401_and_429(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("# ours\nsecret-key\n")
    keys.chmod(0o600)
    with serve(f"auth.api_keys_file={keys}", "scheduler.max_seqs=1", "limits.queue_size=1", "drain.delay=0",
               "drain.timeout=1s") as s:
        bad = openai.OpenAI(base_url=s.url + "/v1", api_key="wrong", max_retries=0)
        with pytest.raises(openai.AuthenticationError):
            bad.models.list()
        good = openai.OpenAI(base_url=s.url + "/v1", api_key="secret-key", max_retries=0, timeout=60)
        name = good.models.list().data[0].id
        ask = dict(model=name, prompt="a", max_tokens=400, extra_body={"ignore_eos": True})

        def go(_):
            try:
                good.completions.create(**ask)
                return 200
            except openai.RateLimitError as e:
                assert e.code == "queue_full" and int(e.response.headers["retry-after"]) >= 1
                return 429

        with cf.ThreadPoolExecutor(12) as ex:
            got = list(ex.map(go, range(12)))
        assert 429 in got and 200 in got, got


def test_two_hundred_streams(client, server, model):
    def one(i):
        text = ""
        for c in client.completions.create(model=model, prompt=f"Story number {i}:", max_tokens=12, temperature=0,
                                           stream=True, extra_body={"ignore_eos": True}):
            text += c.choices[0].text
        return text

    alone = {i: one(i) for i in (0, 77, 199)}
    with cf.ThreadPoolExecutor(200) as ex:
        texts = list(ex.map(one, range(200)))
    assert all(texts)
    for i, want in alone.items():
        assert texts[i] == want, "batching changed an answer"
    m = server.wait_idle()
    assert m["vllm:kv_cache_usage_perc"] <= 1
