# SPDX-License-Identifier: Apache-2.0
"""Is /openapi.json true? Real answers against its shapes, with no other key allowed; and for each field of a
generation request, what the schema takes is what the server takes. (schemathesis tries it with generated requests.)
"""

import json
import re
import time

import pytest

from rig import events, serve

schema = pytest.importorskip("jsonschema_rs")

CHAT = [{"role": "user", "content": "Say something."}]
KINDS = {
    "CompletionRequest": ("/v1/completions", {"prompt": "x", "max_tokens": 1}),
    "ChatCompletionRequest": ("/v1/chat/completions", {"messages": CHAT, "max_tokens": 1}),
    "ResponseRequest": ("/v1/responses", {"input": "x", "max_output_tokens": 1}),
    "MessageRequest": ("/v1/messages", {"messages": CHAT, "max_tokens": 1}),
    "CountRequest": ("/v1/messages/count_tokens", {"messages": CHAT}),
    "EmbeddingRequest": ("/v1/embeddings", {"input": "x"}),
}


@pytest.fixture(scope="module")
def server():
    with serve("scheduler.max_seqs=64", "model.max_model_len=4096", "tokenizer.info_endpoint=true", "log.level=debug") as s:
        yield s
        assert s.alive()


@pytest.fixture(scope="module")
def doc(server):
    return server.ask("GET", "/openapi.json").json()


def strict(v):
    """The same shape, but an object that lists its keys has no others."""
    if isinstance(v, list):
        return [strict(x) for x in v]
    if not isinstance(v, dict):
        return v
    out = {k: strict(x) for k, x in v.items()}
    if "properties" in out and isinstance(out.get("type"), str):
        out.setdefault("additionalProperties", False)
    return out


def shape(doc, name, exact=True):
    c = strict(doc["components"]) if exact else doc["components"]
    return schema.Draft202012Validator({"$ref": "#/components/schemas/" + name, "components": {"schemas": c["schemas"]}})


def answer_name(doc, path, method):
    content = doc["paths"][path][method]["responses"]["200"]["content"]
    return content["application/json"]["schema"]["$ref"].split("/")[-1]


ANSWERS = [
    ("/v1/completions", {"prompt": "x", "max_tokens": 2}),
    ("/v1/completions", {"prompt": ["x", "y"], "n": 2, "best_of": 3, "max_tokens": 3, "logprobs": 2, "return_token_ids": True}),
    ("/v1/completions", {"prompt": "x", "max_tokens": 3, "logprobs": 1, "return_tokens_as_token_ids": True}),
    ("/v1/completions", {"prompt": "x", "max_tokens": 2, "echo": True, "stop": ["q"], "stop_token_ids": [5]}),
    ("/v1/chat/completions", {"messages": CHAT, "max_tokens": 2, "n": 2}),
    ("/v1/chat/completions", {"messages": CHAT, "max_tokens": 3, "logprobs": True, "top_logprobs": 2, "return_token_ids": True}),
    ("/v1/responses", {"input": "x", "max_output_tokens": 2}),
    ("/v1/responses", {"input": [{"role": "user", "content": "x"}], "instructions": "y", "metadata": {"a": "b"}}),
    ("/v1/messages", {"messages": CHAT, "max_tokens": 2}),
    ("/v1/messages/count_tokens", {"messages": CHAT, "system": "x"}),
    ("/v1/embeddings", {"input": ["x", "y"], "encoding_format": "float"}),
    ("/v1/embeddings", {"input": "x", "encoding_format": "base64", "dimensions": 4}),
    ("/tokenize", {"prompt": "x", "return_token_strs": True}),
    ("/tokenize", {"messages": CHAT}),
    ("/tokenize", {"content": "x"}),
    ("/tokenize", {"content": "xä", "with_pieces": True}),
    ("/detokenize", {"tokens": [5, 6]}),
    ("/detokenize?content=1", {"tokens": [5, 6]}),
    ("/apply-template", {"messages": CHAT}),
    *((p, None) for p in ("/v1/models", "/props", "/tokenizer_info", "/health", "/ready", "/live", "/ping", "/version")),
    ("/openapi.json", None),
]


@pytest.mark.parametrize("path,body", ANSWERS)
def test_answers(server, doc, path, body):
    a = server.post(path, body) if body else server.ask("GET", path)
    assert a.status == 200, a
    shape(doc, answer_name(doc, path.split("?")[0], "post" if body else "get")).validate(a.json())


def test_one_model(server, doc):
    shape(doc, "Model").validate(server.ask("GET", "/v1/models/tiny").json())


@pytest.mark.parametrize("path,body", [a for a in ANSWERS if "completions" in a[0] and "best_of" not in a[1]])
def test_streams(server, doc, path, body):
    a = server.post(path, {**body, "stream": True, "stream_options": {"include_usage": True}})
    media = doc["paths"][path]["post"]["responses"]["200"]["content"]["text/event-stream"]
    v = shape(doc, media["x-event"]["$ref"].split("/")[-1])
    got = events(a.body)
    assert a.get("content-type").startswith("text/event-stream") and got[-1] == b"[DONE]" and len(got) > 2
    for e in got[:-1]:
        v.validate(json.loads(e))


@pytest.mark.parametrize("path,body", [a for a in ANSWERS if a[0] in ("/v1/responses", "/v1/messages")])
def test_named_events(server, doc, path, body):
    a = server.post(path, {**body, "stream": True})
    media = doc["paths"][path]["post"]["responses"]["200"]["content"]["text/event-stream"]
    v = shape(doc, media["x-event"]["$ref"].split("/")[-1])
    got = re.findall(rb"^event: (\S+)\ndata: (.*)\n\n", a.body, re.M)
    assert len(got) > 4
    for name, data in got:
        v.validate(json.loads(data))
        assert json.loads(data)["type"] == name.decode()


@pytest.mark.parametrize(
    "method,path,body,status",
    [
        ("POST", "/v1/completions", {"prompt": 5}, 400),
        ("POST", "/v1/completions", {"prompt": "x", "model": "no"}, 404),
        ("POST", "/v1/chat/completions", b"{", 400),
        ("GET", "/v1/models/no", None, 404),
        ("GET", "/nope", None, 404),
        ("POST", "/v1/messages", {"messages": 5}, 400),
        ("POST", "/v1/embeddings", {"input": 5}, 400),
        ("POST", "/v1/responses", {"input": 5}, 400),
        ("GET", "/v1/completions", None, 405),
    ],
)
def test_errors(server, doc, method, path, body, status):
    a = server.ask(method, path, body)
    assert a.status == status
    shape(doc, "MessageError" if path == "/v1/messages" else "Error").validate(a.json())
    described = doc["paths"].get(path, {}).get(method.lower(), {}).get("responses")
    assert described is None or str(status) in described


SAMPLES = [None, True, False, 0, 1, -1, 2, 7, 0.5, 1.5, -2.5, 1e300, -(1e300), "", "x", "none", "text", "high", "a/b", "y" * 513]
SAMPLES += [[], ["text"], ["q"], [""], [1], [-1], [10**6], [[1]], {}, {"1": 1}, {"01": 1}, {"1": 101}, {"type": "text"}, {"include_usage": 1}]
# The schema is about one field; these are about several, or about how long things are.
ABOUT_MORE = {"invalid_combination", "context_length_exceeded", "template_error", "model_not_found"}
ABOUT_OTHERS = {
    "tools": "goes with tool_choice none only",
    "prompt": "an empty text has no token",
    "input": "likewise",
    "min_tokens": "is at most max_tokens",
}


def bounds(s):
    for key in ("minimum", "maximum"):
        if isinstance(s.get(key), (int, float)) and abs(s[key]) < 2**53:
            yield from (s[key], s[key] - 1, s[key] + 1)
    for key in ("maxLength", "minLength"):
        if key in s and s[key] < 1000:
            yield from ("c" * s[key], "c" * (s[key] + 1))
    yield from (x for x in s.get("enum", []) if x is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_field_takes(server, doc, kind):
    path, base = KINDS[kind]
    wrong, n, taken = [], 0, 0
    with server.conn(30) as c:
        for name, s in doc["components"]["schemas"][kind]["properties"].items():
            v = schema.Draft202012Validator({**s, "components": {"schemas": doc["components"]["schemas"]}})
            for value in [*SAMPLES, *bounds(s)]:
                body = {**base, name: value}
                if name in ("max_tokens", "n_predict", "max_new_tokens", "max_completion_tokens"):
                    if "Completion" not in kind and name != "max_tokens":
                        continue  # these have a name of their own for it, which wins
                    body.pop("max_tokens", None) if name != "max_tokens" else None
                    if isinstance(value, (int, float)) and value > 9:
                        continue  # what fits is about the prompt
                    if value == 0 and kind == "CompletionRequest":
                        body["echo"] = True
                if name == "stream_options":
                    body["stream"] = True
                if name == "top_logprobs" and kind == "ChatCompletionRequest":
                    body["logprobs"] = True
                if name == "stream" and value is True:
                    continue  # tested above
                a = c.ask("POST", path, body)
                n += 1
                good = v.is_valid(value)
                if name == "stream_options" and a.status == 200 and good:
                    taken += 1
                elif good and a.status == 400 and (a.error["code"] in ABOUT_MORE or name in ABOUT_OTHERS):
                    continue
                elif a.status not in (200, 400, 404) or good != (a.status in (200, 404)):
                    wrong.append((name, str(value)[:40], "the schema takes it" if good else "the schema refuses it", a.body[:150]))
                else:
                    taken += a.status == 200
    print(f"{kind}: {n} values, {taken} answered")
    assert not wrong, "\n".join(map(str, wrong))
    assert n > 500 and taken > 50


def test_required(server, doc):
    for kind, (path, base) in KINDS.items():
        for name in doc["components"]["schemas"][kind]["required"]:
            a = server.post(path, {k: v for k, v in base.items() if k != name})
            assert a.status == 400 and name in a.error["message"]
            if "code" in a.error:
                assert (a.error["code"], a.error["param"]) == ("missing_required_parameter", name)


def test_docs_need_nothing(server):
    a = server.ask("GET", "/docs")
    assert a.status == 200 and a.get("content-security-policy").startswith("default-src 'none'")
    assert not re.search(rb"<script|<img|<link|//|@import|url\(", a.body)
    h = server.ask("HEAD", "/docs")
    assert h.status == 200 and not h.body and h.get("content-length") == a.get("content-length")


def test_the_log_says_why(server):
    """A line an error: its code, the field it names, the path that nobody answers; nothing of others' making as it is."""
    server.post("/v1/completions", {"prompt": "x", "temperature": 9}, headers=[("X-Request-Id", "why-1")])
    server.post("/v1/completions", {"prompt": "x", "logit_bias": {'a b="c\n': 1}}, headers=[("X-Request-Id", "why-2")])
    server.ask("GET", '/no/such"path=x%0a?key=secret', headers=[("X-Request-Id", "why-3")])
    server.ask("GET", "/" + "y" * 5000, headers=[("X-Request-Id", "why-4")])
    server.post("/v1/completions", {"prompt": "x", "max_tokens": 1, "my_field": 1, "b d": 2}, headers=[("X-Request-Id", "why-5")])
    end = time.monotonic() + 5
    while time.monotonic() < end and "why-5" not in server.log():
        time.sleep(0.01)
    lines = {m[1]: m[0] for m in re.findall(r"^(.*http\.request id=(why-\d) .*)$", server.log(), re.M)}
    assert " info " in lines["why-1"] and " code=invalid_value param=temperature" in lines["why-1"]
    assert lines["why-2"].endswith("param=logit_bias.a?b??c?")
    assert " info " in lines["why-3"] and lines["why-3"].endswith("code=not_found path=/no/such%22path%3Dx%0a")
    assert lines["why-4"].endswith("y..") and len(lines["why-4"]) < 300
    assert "id=why-5 n=2 fields=my_field,?" in server.log()
    assert "secret" not in server.log()
    assert 'quire_ignored_fields_total{field="my_field"} 1' in server.ask("GET", "/metrics").body.decode()
