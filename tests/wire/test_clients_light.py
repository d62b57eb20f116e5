# SPDX-License-Identifier: Apache-2.0
"""The light set of clients: openai-python on every road (sync, async, raw, its streaming helpers, responses,
embeddings), and the plain facts of each endpoint that other clients rest on. scripts/test_clients.sh runs more.
"""

import asyncio
import base64
import json
import re
import struct

import pytest

import tiny
from rig import serve

openai = pytest.importorskip("openai")

CHAT = [{"role": "user", "content": "Say something."}]


@pytest.fixture(scope="module")
def server():
    with serve("scheduler.max_seqs=64", "model.max_model_len=4096") as s:
        yield s
        assert s.alive()


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=30)


def test_chat_and_completions(client):
    r = client.chat.completions.create(model="tiny", messages=CHAT, max_tokens=8, temperature=0)
    assert r.usage.completion_tokens <= 8 and r.choices[0].finish_reason in ("stop", "length")
    r = client.completions.create(model="tiny", prompt=["a", "b"], max_tokens=4, n=2, extra_body={"ignore_eos": True})
    assert [c.index for c in r.choices] == [0, 1, 2, 3] and r.usage.completion_tokens == 16


def test_streams(client):
    ask = dict(model="tiny", messages=CHAT, max_tokens=30, temperature=0, extra_body={"ignore_eos": True})
    plain = client.chat.completions.create(**ask).choices[0].message.content
    chunks = list(client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **ask))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == plain
    assert chunks[-1].usage.completion_tokens == 30 and not chunks[-1].choices
    assert [c.choices[0].delta.role for c in chunks if c.choices and c.choices[0].delta.role] == ["assistant"]


def test_the_streaming_helper(client):
    ask = dict(model="tiny", messages=CHAT, max_tokens=60, temperature=0, extra_body={"ignore_eos": True})
    text = client.chat.completions.create(**ask).choices[0].message.content
    stop = next(
        c for i, c in enumerate(text) if i > 5 and c not in text[:i] and c.isascii()
    )  # the helper refuses finish_reason length
    with client.chat.completions.stream(stop=stop, **ask) as stream:
        deltas = [e.delta for e in stream if e.type == "content.delta"]
        final = stream.get_final_completion()
    assert (
        "".join(deltas) == final.choices[0].message.content == text[: text.index(stop)]
        and final.choices[0].finish_reason == "stop"
    )


def test_async_and_a_client_that_leaves(server):
    async def go():
        c = openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=30)
        ask = dict(model="tiny", messages=CHAT, max_tokens=20, temperature=0, extra_body={"ignore_eos": True})
        answers = await asyncio.gather(*(c.chat.completions.create(**ask) for _ in range(20)))
        assert len({a.choices[0].message.content for a in answers}) == 1
        stream = await c.chat.completions.create(stream=True, **{**ask, "max_tokens": 4000})
        async for _ in stream:
            await stream.close()
            break
        text = [x async for x in await c.completions.create(model="tiny", prompt="x", max_tokens=5, stream=True)]
        assert text[-1].choices[0].finish_reason
        await c.close()

    asyncio.run(go())


def test_raw_answers_and_errors(client):
    raw = client.chat.completions.with_raw_response.create(
        model="tiny", messages=CHAT, max_tokens=2, extra_headers={"X-Request-Id": "mine-1"}
    )
    assert raw.headers["x-request-id"] == "mine-1" and raw.parse().id.startswith("chatcmpl-")
    for kind, ask in (
        (openai.BadRequestError, {"temperature": 3}),
        (openai.NotFoundError, {"model": "nope"}),
        (openai.BadRequestError, {"messages": []}),
    ):
        with pytest.raises(kind) as e:
            client.chat.completions.create(**{"model": "tiny", "messages": CHAT, **ask})
        assert e.value.code and e.value.param in ("temperature", "model", "messages")


def test_logprobs_and_penalties(client):
    r = client.chat.completions.create(
        model="tiny",
        messages=CHAT,
        max_tokens=6,
        temperature=0,
        logprobs=True,
        top_logprobs=3,
        extra_body={"ignore_eos": True},
    )
    assert (
        all(len(t.top_logprobs) == 3 for t in r.choices[0].logprobs.content) and len(r.choices[0].logprobs.content) == 6
    )
    r = client.completions.create(
        model="tiny",
        prompt="x",
        max_tokens=8,
        temperature=0,
        logit_bias={str(tiny.token_id("q")): 100},
        extra_body={"ignore_eos": True},
    )
    assert r.choices[0].text == "qqqqqqqq"
    once = client.completions.create(
        model="tiny",
        prompt="x",
        max_tokens=40,
        temperature=0,
        logprobs=0,
        frequency_penalty=2,
        presence_penalty=2,
        extra_body={"ignore_eos": True},
    )
    tokens = once.choices[0].logprobs.tokens
    assert len(set(tokens)) == len(tokens), "with both penalties at 2 nothing is said twice by a model this flat"


def test_echo_with_logprobs_as_lm_eval_asks(client):
    prompts = [[tiny.token_id(c) for c in "hello there"], [tiny.token_id(c) for c in "hi"]]
    r = client.completions.create(
        model="tiny", prompt=prompts, echo=True, max_tokens=1, logprobs=1, temperature=0, seed=1234
    )
    for c, ids in zip(sorted(r.choices, key=lambda c: c.index), prompts):
        lp = c.logprobs
        assert len(lp.token_logprobs) == len(ids) + 1 == len(lp.top_logprobs) == len(lp.tokens)
        assert lp.token_logprobs[0] is None and lp.top_logprobs[0] is None
        assert "".join(lp.tokens[: len(ids)]) == "".join(chr(i - 4) for i in ids)
        for value, top in list(zip(lp.token_logprobs, lp.top_logprobs))[1:]:
            assert value <= max(top.values()) and (value in top.values())
    r = client.completions.create(model="tiny", prompt="hello", echo=True, max_tokens=0, logprobs=0)
    assert r.choices[0].text == "hello" and r.usage.completion_tokens == 0 and len(r.choices[0].logprobs.tokens) == 5


def test_embeddings(client, server):
    r = client.embeddings.create(model="tiny", input=["one", "two"], encoding_format="float")
    assert (
        [d.index for d in r.data] == [0, 1]
        and r.object == "list"
        and r.usage.prompt_tokens == 6 == r.usage.total_tokens
    )
    assert abs(sum(x * x for x in r.data[0].embedding) - 1) < 1e-3, "unit length, as OpenAI's"
    b64 = server.post("/v1/embeddings", {"model": "tiny", "input": "one", "encoding_format": "base64"}).json()["data"][
        0
    ]["embedding"]
    got = struct.unpack(f"<{len(r.data[0].embedding)}f", base64.b64decode(b64))
    assert max(abs(a - b) for a, b in zip(got, r.data[0].embedding)) < 1e-6
    assert client.embeddings.create(model="tiny", input="one").data[0].embedding == pytest.approx(
        r.data[0].embedding, abs=1e-6
    )
    short = client.embeddings.create(model="tiny", input="one", dimensions=8).data[0].embedding
    assert len(short) == 8 and abs(sum(x * x for x in short) - 1) < 1e-3
    ids = [tiny.token_id(c) for c in "one"]
    assert client.embeddings.create(model="tiny", input=[ids]).data[0].embedding == pytest.approx(
        r.data[0].embedding, abs=1e-6
    )
    for bad in (
        {"input": []},
        {"input": ""},
        {"dimensions": 0},
        {"dimensions": 10000},
        {"encoding_format": "hex"},
        {"input": 5},
        {"input": ["a", 5]},
        {"input": [267]},
    ):
        a = server.post("/v1/embeddings", {"model": "tiny", "input": "one", **bad})
        assert a.status == 400 and a.error["param"].split("[")[0] in bad, (bad, a)


def test_responses(client, server):
    r = client.responses.create(
        model="tiny", input="Say something.", max_output_tokens=24, temperature=0, instructions="Be brief."
    )
    assert r.object == "response" and r.status in ("completed", "incomplete") and isinstance(r.output_text, str)
    assert (
        r.output[0].type == "message"
        and r.output[0].role == "assistant"
        and r.output[0].content[0].type == "output_text"
    )
    assert r.usage.output_tokens <= 24 and r.usage.total_tokens == r.usage.input_tokens + r.usage.output_tokens
    r2 = client.responses.create(
        model="tiny",
        max_output_tokens=24,
        temperature=0,
        instructions="Be brief.",
        input=[{"role": "user", "content": [{"type": "input_text", "text": "Say something."}]}],
    )
    assert r2.output_text == r.output_text
    a = server.post("/v1/responses", {"model": "tiny", "input": "x", "previous_response_id": "resp_1"})
    assert (a.status, a.error["code"], a.error["param"]) == (400, "unsupported_parameter", "previous_response_id")


def test_responses_stream(client):
    with client.responses.stream(model="tiny", input="Say something.", max_output_tokens=24, temperature=0) as stream:
        events = list(stream)
        final = stream.get_final_response()
    kinds = [e.type for e in events]
    assert kinds[0] == "response.created" and kinds[-1] in ("response.completed", "response.incomplete")
    assert (
        "response.output_item.added" in kinds
        and "response.output_text.done" in kinds
        and "response.output_item.done" in kinds
    )
    assert [e.sequence_number for e in events if hasattr(e, "sequence_number")] == list(range(len(events)))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == final.output_text


def test_responses_types(server):
    """Every answer and event has all that openai-python's types require, with the right types."""
    pydantic = pytest.importorskip("pydantic")
    from openai.types.responses import Response, ResponseStreamEvent

    asks = (
        {"input": "x", "max_output_tokens": 4},
        {
            "input": [{"role": "user", "content": "x"}],
            "instructions": "Be brief.",
            "max_output_tokens": 4,
            "metadata": {"k": "v"},
            "reasoning": {"effort": "low"},
            "text": {"verbosity": "low"},
            "user": "u",
            "max_tool_calls": 1,
            "tool_choice": "none",
            "store": True,
        },
    )
    event = pydantic.TypeAdapter(ResponseStreamEvent)
    for ask in asks:
        r = Response.model_validate_json(server.post("/v1/responses", ask).body, strict=True)
        assert r.output[0].content[0].text and r.usage.output_tokens <= 4
        data = re.findall(rb"^data: (.*)$", server.post("/v1/responses", {**ask, "stream": True}).body, re.M)
        events = [event.validate_json(d, strict=True) for d in data]
        assert events[-1].response.output[0].content[0].text == "".join(
            e.delta for e in events if e.type == "response.output_text.delta"
        )


def test_messages_by_hand(server):
    """Anthropic's shape without its SDK."""
    ask = {"model": "tiny", "max_tokens": 12, "messages": CHAT, "system": "Be brief.", "temperature": 0}
    head = [("X-Api-Key", "none"), ("anthropic-version", "2023-06-01")]
    a = server.post("/v1/messages", ask, headers=head)
    body = a.json()
    assert (
        a.status == 200 and (body["type"], body["role"]) == ("message", "assistant") and body["id"].startswith("msg_")
    )
    assert (
        body["content"][0]["type"] == "text"
        and body["stop_reason"] in ("end_turn", "max_tokens")
        and body["usage"]["output_tokens"] <= 12
    )
    s = server.post("/v1/messages", {**ask, "stream": True}, headers=head)
    kinds = re.findall(rb"^event: (\S+)$", s.body, re.M)
    data = [json.loads(d) for d in re.findall(rb"^data: (.*)$", s.body, re.M)]
    assert [k.decode() for k in kinds] == [d["type"] for d in data]
    assert (
        kinds[0] == b"message_start"
        and kinds[-1] == b"message_stop"
        and b"content_block_start" in kinds
        and b"message_delta" in kinds
    )
    assert "".join(d["delta"]["text"] for d in data if d["type"] == "content_block_delta") == body["content"][0]["text"]
    n = server.post(
        "/v1/messages/count_tokens",
        {k: v for k, v in ask.items() if k in ("model", "messages", "system")},
        headers=head,
    ).json()
    assert n["input_tokens"] == body["usage"]["input_tokens"] + body["usage"].get("cache_read_input_tokens", 0)
    e = server.post("/v1/messages", {**ask, "max_tokens": 0}, headers=head)
    assert e.status == 400 and e.json()["type"] == "error" and e.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "path,body",
    [
        ("/chat/completions", {"messages": CHAT, "max_tokens": 1}),
        ("/completions", {"prompt": "x", "max_tokens": 1}),
        ("/embeddings", {"input": "x"}),
        ("/models", None),
    ],
)
def test_paths_without_v1(server, path, body):
    a = server.post(path, body) if body else server.ask("GET", path)
    assert a.status == 200 and a.get("content-type") == "application/json"


def test_a_404_names_what_exists(server):
    a = server.post("/v1/chat/completion", {"messages": CHAT})
    assert (a.status, a.error["code"]) == (404, "not_found") and "/v1/chat/completions" in a.error["message"]


def test_continuous_usage_starts_at_nothing(client):
    chunks = list(
        client.chat.completions.create(
            model="tiny",
            messages=CHAT,
            max_tokens=5,
            stream=True,
            extra_body={"ignore_eos": True},
            stream_options={"include_usage": True, "continuous_usage_stats": True},
        )
    )
    assert [c.usage.completion_tokens for c in chunks] == [0, 1, 2, 3, 4, 5, 5, 5][: len(chunks)]
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[0].usage.completion_tokens == 0


def test_as_much_as_fits(client):
    r = client.completions.create(model="tiny", prompt="x" * 4000, max_tokens=-1, extra_body={"ignore_eos": True})
    assert r.usage.total_tokens == 4096 and r.choices[0].finish_reason == "length"


def test_tokenize_continues_the_last_message(server):
    m = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    ids = server.post(
        "/tokenize", {"messages": m, "add_generation_prompt": False, "continue_final_message": True}
    ).json()["tokens"]
    assert ids[-1] == tiny.token_id("b")
    r = server.post(
        "/v1/chat/completions",
        {"messages": m, "add_generation_prompt": False, "continue_final_message": True, "max_tokens": 1},
    )
    assert r.status == 200 and r.json()["usage"]["prompt_tokens"] == len(ids)


@pytest.mark.parametrize("name", ["repeat_penalty", "repetition_penalty"])
def test_a_penalty_is_never_ignored(server, name):
    ask = {"prompt": "abcabcabc", "max_tokens": 64, "temperature": 0, "ignore_eos": True}
    plain, a = server.post("/v1/completions", ask), server.post("/v1/completions", {**ask, name: 2.0})
    if name == "repeat_penalty" and a.status == 400:
        assert (a.error["code"], a.error["param"]) == ("unsupported_parameter", name)
    else:
        assert a.status == 200 and a.json()["choices"][0]["text"] != plain.json()["choices"][0]["text"]


def test_n_predict_is_an_alias_or_refused(server):
    a = server.post("/v1/completions", {"prompt": "x", "n_predict": 3, "ignore_eos": True})
    assert (
        a.error["code"] == "unsupported_parameter" if a.status == 400 else a.json()["usage"]["completion_tokens"] == 3
    )


def test_props_template_and_tokenizer_info():
    with serve("tokenizer.info_endpoint=true") as s:
        assert s.ask("GET", "/props").json()["default_generation_settings"]["n_ctx"] == tiny.MAX_LEN
        assert (
            s.post("/apply-template", {"messages": CHAT}).json()["prompt"]
            == "<|im_start|>user\nSay something.<|im_end|>\n<|im_start|>assistant\n"
        )
        info = s.ask("GET", "/tokenizer_info").json()
        assert info["tokenizer_class"] and info["chat_template"] == tiny.TEMPLATE


def test_openapi_is_a_description(server):
    doc = server.ask("GET", "/openapi.json").json()
    assert doc["openapi"].startswith("3.") and {"/v1/chat/completions", "/v1/completions", "/v1/models"} <= set(
        doc["paths"]
    )
    schema = json.dumps(doc)
    for field in ("temperature", "max_completion_tokens", "stream_options", "logit_bias", "stop_token_ids"):
        assert f'"{field}"' in schema
    html = server.ask("GET", "/docs")
    assert (
        html.status == 200
        and "text/html" in html.get("content-type")
        and not re.search(rb"(src|href)\s*=\s*[\"']?(https?:)?//", html.body)
    )
