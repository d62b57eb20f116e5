# SPDX-License-Identifier: Apache-2.0
"""The request fields of the two generation endpoints as a table, and the cases that follow from it.

A row is what the contract says about a field: where it is, its type, its range. From it come null, every
other JSON type, each bound, the numbers on both sides of it, floats that are integers, numbers beyond 2^53,
int64 and double, and (as `good` and `bad`) what a type and a range do not say. A case is
    Case(field, path, body text, status, codes, param)
codes empty: not judged. The expected numbers belong to a server with max_model_len=512 and the tiny model.
"""

import json
from typing import NamedTuple

import tiny
from grid_rows import (
    ANY,
    BOTH,
    C,
    CHAT,
    COMBINATION,
    HUGE,
    LENGTH,
    LONG,
    MISSING,
    NO_EFFECT,
    REFUSED,
    ROWS,
    SAMPLES,
    T,
    TEXT,
    TYPE,
    UNBUILT,
    UNKNOWN,
    VALUE,
    WRONG_EVER,
    q,
)


class Case(NamedTuple):
    field: str
    path: str
    body: str
    status: int = 200
    codes: tuple = ANY
    param: str | None = None


def body_of(path, name, value, also="", stream=False):
    members = ['"prompt":"x"' if path == TEXT else '"messages":[{"role":"user","content":"x"}]']
    if name not in ("max_tokens", "max_completion_tokens") and '"max_tokens"' not in also:
        members.append('"max_tokens":1')
    if stream and name != "stream":
        members.append('"stream":true')
    if name in ("prompt", "messages"):
        members = members[1:]
    members += [also] if also else []
    if value is not None:
        members.append(f'"{name}":{value}')
    return "{" + ",".join(members) + "}"


def numbers_of(row):
    """Texts and verdicts around the bounds of a numeric row."""
    integer = "num" not in row.types
    good, wrong = [], []
    for bound, out in ((row.lo, -1), (row.hi, 1)):
        if bound is None:
            continue
        good += [f"{bound}", f"{bound}.0", f"{bound}e0"]
        wrong += [f"{bound + out}", f"{bound + out * 1000}"] + (
            [] if integer else [repr(bound + out * 1e-9), repr(bound + out * 0.5)]
        )
    if integer and row.lo is not None and row.hi is not None and row.hi - row.lo > 2:
        good += [f"{(row.lo + row.hi) // 2}"]
    if row.hi is not None:
        wrong += [h for h in HUGE if not h.startswith("-")]
    if row.lo is not None:
        wrong += ["-1e999", "-9223372036854775809", "-1e30"]
    return good, wrong


def cases_of(row, path):
    """Cases of one row, as (value text, status, codes, param)."""
    yield "null", 200, ANY, None
    right = row.types.split()
    for kind, texts in SAMPLES.items():
        if kind not in right and not (kind == "int" and "num" in right):
            for t in texts:
                yield t, 400, TYPE, row.name
    if "bool" in right and not row.good:
        yield from ((t, 200, ANY, None) for t in ("true", "false"))
    good, wrong = numbers_of(row) if "int" in right else ([], [])
    for t in dict.fromkeys([*good, *row.good]):
        yield t, 200, ANY, None
    named = {t for t, _, _ in row.bad}
    for t in dict.fromkeys(wrong):
        if t not in named and t not in row.good:
            yield t, 400, VALUE, row.name
    for t, codes, param in row.bad:
        yield t, 400, codes, param or row.name


def fields():
    for row in ROWS:
        for path, where in ((TEXT, T), (CHAT, C)):
            if row.where & where:
                for value, status, codes, param in cases_of(row, path):
                    for stream in (False, True):
                        if stream and row.name in ("best_of", "prompt_logprobs") and status == 200:
                            continue  # what a stream cannot do is said below
                        yield Case(
                            row.name, path, body_of(path, row.name, value, row.also, stream), status, codes, param
                        )
    everything = [t for texts in SAMPLES.values() for t in texts]
    for where, names in REFUSED.items():
        for path in (TEXT, CHAT) if where == BOTH else (CHAT,):
            for name in names:
                yield Case(name, path, body_of(path, name, "null"))
                yield from (Case(name, path, body_of(path, name, t), 400, UNBUILT, name) for t in everything)
    for path in (TEXT, CHAT):
        for name, values in WRONG_EVER.items():
            yield Case(name, path, body_of(path, name, "null"))
            yield from (Case(name, path, body_of(path, name, t), 400, UNBUILT + TYPE + VALUE, name) for t in values)
        for name in NO_EFFECT:
            yield from (Case(name, path, body_of(path, name, t)) for t in ["null", *everything])
        for name in UNKNOWN:
            yield from (
                Case("unknown", path, body_of(path, name, t)) for t in ("null", "1", '"s"', "[[{}]]", "true", "1e999")
            )
        for t in everything:
            stream_ok = t in ("true", "false")
            yield Case(
                "stream",
                path,
                body_of(path, "stream", t),
                200 if stream_ok else 400,
                ANY if stream_ok else TYPE,
                None if stream_ok else "stream",
            )
        yield Case("model", path, body_of(path, "model", '"nope"'), 404, ("model_not_found",), "model")
        yield Case("modalities", path, body_of(path, "modalities", '["text"]'))
        yield from (
            Case("modalities", path, body_of(path, "modalities", t), 400, UNBUILT, "modalities")
            for t in ('["audio"]', '["text","audio"]')
        )
        yield from (
            Case("function_call", path, body_of(path, "function_call", t), s, c, p)
            for t, s, c, p in (
                ('"none"', 200, ANY, None),
                ('"auto"', 400, UNBUILT, "function_call"),
                ('{"name":"f"}', 400, UNBUILT, "function_call"),
            )
        )


def options():
    for path in (TEXT, CHAT):
        for t in [x for k in SAMPLES if k != "obj" for x in SAMPLES[k]]:
            yield Case(
                "stream_options", path, body_of(path, "stream_options", t, stream=True), 400, TYPE, "stream_options"
            )
        for t in ("{}", "null"):
            yield from (
                Case("stream_options", path, body_of(path, "stream_options", t, stream=s)) for s in (False, True)
            )
        for key in ("include_usage", "continuous_usage_stats", "include_obfuscation"):
            for t in ("true", "false", "null"):
                yield Case("stream_options", path, body_of(path, "stream_options", f'{{"{key}":{t}}}', stream=True))
            for t in ("1", '"true"', "[]", "{}", "0.5"):
                yield Case(
                    "stream_options",
                    path,
                    body_of(path, "stream_options", f'{{"{key}":{t}}}', stream=True),
                    400,
                    TYPE,
                    "stream_options." + key,
                )
            yield Case(
                "stream_options",
                path,
                body_of(path, "stream_options", f'{{"{key}":true}}'),
                400,
                COMBINATION,
                "stream_options",
            )
        yield Case("stream_options", path, body_of(path, "stream_options", '{"unknown":1}', stream=True))
    yield Case("max_tokens", TEXT, body_of(TEXT, "echo", "true", '"max_tokens":0'))
    yield Case("echo", TEXT, body_of(TEXT, "echo", "true", '"max_tokens":0,"logprobs":2'))
    yield Case("best_of", TEXT, body_of(TEXT, "best_of", "1", '"n":2'), 400, COMBINATION, "best_of")
    yield Case("best_of", TEXT, body_of(TEXT, "best_of", "3", '"n":2'))
    yield Case("best_of", TEXT, body_of(TEXT, "best_of", "3", '"n":2', stream=True), 400, ANY, "best_of")
    yield Case(
        "continue_final_message",
        CHAT,
        '{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}],"max_tokens":1,'
        '"continue_final_message":true,"add_generation_prompt":false}',
    )
    yield Case(
        "continue_final_message",
        CHAT,
        '{"messages":[{"role":"assistant","content":"y"}],"max_tokens":1,"continue_final_message":true,'
        '"add_generation_prompt":true}',
        400,
        ANY,
        None,
    )


def prompts():
    p = TEXT
    for value, status, codes, param in (
        (None, 400, MISSING, "prompt"),
        ("null", 400, MISSING, "prompt"),
        ("5", 400, TYPE, "prompt"),
        ("0.5", 400, TYPE, "prompt"),
        ("true", 400, TYPE, "prompt"),
        ("{}", 400, TYPE, "prompt"),
        ('""', 400, LENGTH, "prompt"),
        ("[]", 400, LENGTH, "prompt"),
        ('[""]', 400, LENGTH, "prompt[0]"),
        ('["a",""]', 400, LENGTH, "prompt[1]"),
        ('["a",5]', 400, TYPE, "prompt[1]"),
        ('[5,"a"]', 400, TYPE, "prompt[1]"),
        ('["a",null]', 400, TYPE, "prompt[1]"),
        ("[5,null]", 400, TYPE, "prompt[1]"),
        ("[true]", 400, TYPE, "prompt[0]"),
        ("[{}]", 400, TYPE, "prompt[0]"),
        ("[null]", 400, TYPE, "prompt[0]"),
        ("[0.5]", 400, TYPE, "prompt[0]"),
        ("[267]", 400, VALUE, "prompt[0]"),
        ("[-1]", 400, VALUE, "prompt[0]"),
        ("[5,1e30]", 400, VALUE, "prompt[1]"),
        ("[[]]", 400, LENGTH, "prompt[0]"),
        ("[[5],[]]", 400, LENGTH, "prompt[1]"),
        ("[[5],[267]]", 400, VALUE, "prompt[1][0]"),
        ('[[5],["a"]]', 400, TYPE, "prompt[1][0]"),
        ("[[[5]]]", 400, TYPE, "prompt[0][0]"),
        ('["a",["b"]]', 400, TYPE, "prompt[1]"),
        ("[[5],5]", 400, TYPE, "prompt[1]"),
        ('"x"', 200, ANY, None),
        ('"\\u0000"', 200, ANY, None),
        ('"\\ud83d\\ude00"', 200, ANY, None),
        ('["a","b"]', 200, ANY, None),
        ("[5,0,266]", 200, ANY, None),
        ("[5.0]", 200, ANY, None),
        ("[[5],[6,7]]", 200, ANY, None),
        (q("a" * 511), 200, ANY, None),
        (q("a" * 512), 400, LONG, "prompt"),
        (q("a" * 9000), 400, LONG, "prompt"),
        (json.dumps(["a", "b" * 600]), 400, LONG, None),
        (json.dumps(["a"] * 100), 200, ANY, None),
        (json.dumps(["a"] * 1025), 400, LENGTH, "prompt"),
    ):
        yield from (
            Case("prompt", p, body_of(p, "prompt", value, stream=s), status, codes, param) for s in (False, True)
        )


def messages():
    def one(text, status=200, codes=ANY, param=None):
        return f"[{text}]", status, codes, param

    at = "messages[0]"
    for value, status, codes, param in (
        (None, 400, MISSING, "messages"),
        ("null", 400, MISSING, "messages"),
        ("5", 400, TYPE, "messages"),
        ('"x"', 400, TYPE, "messages"),
        ("true", 400, TYPE, "messages"),
        ("{}", 400, TYPE, "messages"),
        ("[]", 400, LENGTH, "messages"),
        one("5", 400, TYPE, at),
        one('"x"', 400, TYPE, at),
        one("null", 400, TYPE, at),
        one("[]", 400, TYPE, at),
        one("{}", 400, MISSING, at + ".role"),
        one('{"content":"x"}', 400, MISSING, at + ".role"),
        one('{"role":5,"content":"x"}', 400, TYPE, at + ".role"),
        one('{"role":null,"content":"x"}', 400, MISSING, at + ".role"),
        one('{"role":[],"content":"x"}', 400, TYPE, at + ".role"),
        *(one(f'{{"role":"user","content":{v}}}', 400, TYPE, at + ".content") for v in ("5", "true", "0.5", "{}")),
        one('{"role":"user"}', 400, MISSING, at + ".content"),
        one('{"role":"user","content":null}', 400, MISSING, at + ".content"),
        one('{"role":"user","content":[]}', 400, LENGTH, at + ".content"),
        one('{"role":"user","content":[5]}', 400, TYPE, at + ".content[0]"),
        one('{"role":"user","content":["x"]}', 400, TYPE, at + ".content[0]"),
        one('{"role":"user","content":[{"type":"text"}]}', 400, MISSING, at + ".content[0].text"),
        one('{"role":"user","content":[{"type":"text","text":5}]}', 400, TYPE, at + ".content[0].text"),
        *(
            one(f'{{"role":"user","content":[{{"type":"{k}","{k}":{{}}}}]}}', 400, UNBUILT, at + ".content[0].type")
            for k in ("image_url", "input_audio", "file", "video_url")
        ),
        *(one(f'{{"role":"{r}","content":"x"}}') for r in ("system", "developer", "user", "assistant", "tool")),
        one('{"role":"user","content":""}'),
        one('{"role":"user","content":[{"type":"text","text":"x"}]}'),
        one('{"role":"user","content":[{"text":"x"}]}'),
        one('{"role":"user","content":[{"type":"text","text":"x"},{"type":"text","text":"y","cache_control":{}}]}'),
        one('{"role":"assistant"},{"role":"user","content":"x"}'),
        one('{"role":"assistant","content":null},{"role":"user","content":"x"}'),
        one('{"role":"assistant","content":[{"type":"refusal","refusal":"no"}]},{"role":"user","content":"x"}'),
        *(
            one(f'{{"role":"user","content":"x","{k}":{v}}}')
            for k, v in (
                ("name", "null"),
                ("name", '"n"'),
                ("refusal", "null"),
                ("reasoning_content", '"r"'),
                ("audio", "null"),
                ("extra", "[1]"),
            )
        ),
    ):
        yield from (
            Case("messages", CHAT, body_of(CHAT, "messages", value, stream=s), status, codes, param)
            for s in (False, True)
        )


def bodies():
    for path in (TEXT, CHAT):
        for text in ("[]", '"x"', "5", "null", "true"):
            yield Case("body", path, text, 400, TYPE, None)
        for text in (
            "",
            "{",
            '{"a":1,}',
            "{'a':1}",
            '{"a":NaN}',
            '{"a":01}',
            '{"a":1,"a":2}',
            "nul",
            '{"a":"\\ud800"}',
            '{"a":"\n"}',
            '{"a":1}}',
            "\ufeff{}",
            '{"a":' + "[" * 128 + "]" * 128 + "}",
        ):
            yield Case("body", path, text, 400, ("invalid_json",), None)


def all_cases():
    return [*fields(), *options(), *prompts(), *messages(), *bodies()]


assert tiny.VOCAB == 267
