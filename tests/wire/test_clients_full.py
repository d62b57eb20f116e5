# SPDX-License-Identifier: Apache-2.0
"""Other people's clients, unmodified and pinned (requirements-clients.txt): scripts/test_clients.sh runs this in
an environment of its own. A client that is not installed is skipped, and QUIRE_CLIENTS_ALL=1 makes that a failure.
"""

import importlib
import json
import os
import re
import subprocess
import sys

import pytest

from rig import serve

CHAT = [{"role": "user", "content": "Say something."}]


def need(name):
    if os.environ.get("QUIRE_CLIENTS_ALL") == "1":
        return importlib.import_module(name)
    return pytest.importorskip(name)


@pytest.fixture(scope="module")
def server():
    with serve("scheduler.max_seqs=64", "model.max_model_len=4096") as s:
        yield s
        assert s.alive()


@pytest.fixture
def base(server):
    return server.url + "/v1"


# ---- langchain-openai ----


def test_langchain_chat(base):
    lc = need("langchain_openai")
    m = lc.ChatOpenAI(
        model="tiny", base_url=base, api_key="x", max_tokens=12, temperature=0, max_retries=0, stream_usage=True, seed=1
    )
    a = m.invoke("Say something.")
    assert (
        isinstance(a.content, str)
        and a.usage_metadata["output_tokens"] <= 12
        and a.response_metadata["finish_reason"] in ("stop", "length")
    )
    parts = list(m.stream("Say something."))
    assert "".join(p.content for p in parts) == a.content
    assert sum((p.usage_metadata or {}).get("output_tokens", 0) for p in parts) == a.usage_metadata["output_tokens"]
    assert len(m.batch(["a", "b", "c"])) == 3
    assert (
        m.bind(stop=["q"], logprobs=True, top_logprobs=2)
        .invoke([("system", "Be brief."), ("human", "x")])
        .response_metadata["logprobs"]["content"]
    )


def test_langchain_errors(base):
    lc, openai = need("langchain_openai"), need("openai")
    with pytest.raises(openai.NotFoundError):
        lc.ChatOpenAI(model="nope", base_url=base, api_key="x", max_retries=0).invoke("x")
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        lc.ChatOpenAI(model="tiny", base_url=base, api_key="x", max_retries=0).invoke("x" * 5000)


def test_langchain_completion_and_embeddings(base):
    lc = need("langchain_openai")
    assert isinstance(lc.OpenAI(model="tiny", base_url=base, api_key="x", max_tokens=8, max_retries=0).invoke("x"), str)
    e = lc.OpenAIEmbeddings(model="tiny", base_url=base, api_key="x", check_embedding_ctx_length=False, max_retries=0)
    assert len(e.embed_documents(["a", "b"])) == 2 and len(e.embed_query("a")) == 32


def test_langchain_responses(base):
    lc = need("langchain_openai")
    m = lc.ChatOpenAI(
        model="tiny", base_url=base, api_key="x", max_tokens=24, max_retries=0, use_responses_api=True, temperature=0
    )
    a = m.invoke("Say something.")
    assert a.usage_metadata["output_tokens"] <= 24 and a.text == "".join(p.text for p in m.stream("Say something."))


# ---- litellm ----


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])
def test_litellm(base, provider):
    litellm = need("litellm")
    ask = dict(model=f"{provider}/tiny", api_base=base, api_key="x", num_retries=0, max_tokens=8, temperature=0)
    a = litellm.completion(messages=CHAT, **ask)
    assert a.usage.completion_tokens <= 8
    parts = list(litellm.completion(messages=CHAT, stream=True, stream_options={"include_usage": True}, **ask))
    assert "".join(p.choices[0].delta.content or "" for p in parts if p.choices) == (a.choices[0].message.content or "")
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(messages=[{"role": "user", "content": "x" * 5000}], **ask)
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(messages=CHAT, **{**ask, "model": f"{provider}/nope"})
    with pytest.raises(litellm.BadRequestError):
        litellm.completion(messages=CHAT, **{**ask, "temperature": 3})


def test_litellm_text_and_embeddings(base):
    litellm = need("litellm")
    a = litellm.text_completion(
        model="text-completion-openai/tiny", prompt="x", api_base=base, api_key="x", max_tokens=4
    )
    assert a.usage.completion_tokens <= 4
    assert len(litellm.embedding(model="openai/tiny", input=["a", "b"], api_base=base, api_key="x").data) == 2


def test_litellm_full_queue():
    litellm = need("litellm")
    from rig import request

    with serve("scheduler.max_seqs=1", "limits.queue_size=1") as s:
        busy = [s.conn() for _ in range(2)]
        for c in busy:
            c.send(request("POST", "/v1/completions", {"prompt": "x", "max_tokens": 60000, "ignore_eos": True}))
        with pytest.raises(litellm.RateLimitError):
            for _ in range(50):
                litellm.completion(
                    model="openai/tiny",
                    api_base=s.url + "/v1",
                    api_key="x",
                    messages=CHAT,
                    max_tokens=1,
                    num_retries=0,
                    max_retries=0,
                )
        for c in busy:
            c.close()


# ---- instructor, without tools or structured output ----


def test_instructor_plain(base):
    instructor, openai = need("instructor"), need("openai")
    from pydantic import BaseModel

    class Thing(BaseModel):
        name: str = "nobody"

    client = instructor.from_openai(
        openai.OpenAI(base_url=base, api_key="x", max_retries=0), mode=instructor.Mode.MD_JSON
    )
    assert (
        client.chat.completions.create(
            model="tiny", messages=CHAT, response_model=None, max_tokens=8
        ).usage.completion_tokens
        <= 8
    )
    try:  # a random model speaks no JSON: then it is instructor that says so, after an answer that it could read
        assert isinstance(
            client.chat.completions.create(
                model="tiny", messages=CHAT, response_model=Thing, max_tokens=16, max_retries=1
            ),
            Thing,
        )
    except Exception as e:
        assert type(e).__module__.startswith("instructor") and not re.search(r"Error code: \d", str(e)), e


# ---- llama-index ----


def test_llama_index(base):
    need("llama_index.llms.openai_like")
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai_like import OpenAILike

    for chat in (True, False):
        m = OpenAILike(
            model="tiny",
            api_base=base,
            api_key="x",
            is_chat_model=chat,
            max_tokens=8,
            context_window=4096,
            max_retries=0,
            temperature=0,
        )
        text = m.complete("Say something.").text
        assert "".join(p.delta for p in m.stream_complete("Say something.")) == text
        message = ChatMessage(role="user", content="Say something.")
        assert isinstance(m.chat([message]).message.content, str) and list(m.stream_chat([message]))


# ---- anthropic ----


def test_anthropic(server):
    anthropic = need("anthropic")
    c = anthropic.Anthropic(base_url=server.url, api_key="x", max_retries=0)
    ask = dict(model="tiny", max_tokens=12, messages=CHAT, system="Be brief.", extra_body={"temperature": 0})
    a = c.messages.create(**ask)
    assert (
        a.type == "message"
        and a.content[0].type == "text"
        and a.stop_reason in ("end_turn", "max_tokens")
        and a.usage.output_tokens <= 12
    )
    with c.messages.stream(**ask) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == a.content[0].text == final.content[0].text and final.usage.output_tokens == a.usage.output_tokens
    blocks = c.messages.create(
        **{
            **ask,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Say something."}]}],
            "system": [{"type": "text", "text": "Be brief."}],
            "stop_sequences": ["no such text"],
            "metadata": {"user_id": "u"},
            "extra_body": {"temperature": 0.5, "top_k": 5, "top_p": 0.9},
        }
    )
    assert blocks.usage.input_tokens == a.usage.input_tokens
    assert c.messages.count_tokens(model="tiny", messages=CHAT, system="Be brief.").input_tokens == a.usage.input_tokens
    with pytest.raises(anthropic.BadRequestError):
        c.messages.create(**{**ask, "max_tokens": -5})
    with pytest.raises(anthropic.NotFoundError):
        c.messages.create(**{**ask, "model": "nope"})


def test_anthropic_key(tmp_path):
    anthropic = need("anthropic")
    keys = tmp_path / "keys"
    keys.write_text("good-key\n")
    keys.chmod(0o600)
    with serve(f"auth.api_keys_file={keys}") as s:
        with pytest.raises(anthropic.AuthenticationError):
            anthropic.Anthropic(base_url=s.url, api_key="bad", max_retries=0).messages.create(
                model="tiny", max_tokens=1, messages=CHAT
            )
        assert (
            anthropic.Anthropic(base_url=s.url, api_key="good-key", max_retries=0)
            .messages.create(model="tiny", max_tokens=1, messages=CHAT)
            .id
        )


# ---- llm (the command) ----


@pytest.mark.parametrize("stream", [True, False])
def test_llm_command(base, tmp_path, stream):
    need("llm")
    (tmp_path / "extra-openai-models.yaml").write_text(
        json.dumps([{"model_id": "mine", "model_name": "tiny", "api_base": base}])
    )
    p = subprocess.run(
        [
            sys.executable,
            "-m",
            "llm",
            "-m",
            "mine",
            "Say something.",
            "-o",
            "max_tokens",
            "8",
            "-o",
            "seed",
            "1",
            "-s",
            "Be brief.",
        ]
        + ([] if stream else ["--no-stream"]),
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "x", "LLM_OPENAI_KEY": "x"},
    )
    assert p.returncode == 0 and p.stdout.strip(), p.stderr[-500:]
