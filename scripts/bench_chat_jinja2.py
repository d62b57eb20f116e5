#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Chat templates against jinja2 on one thread: same conversation, same text.

  python3 scripts/bench_chat_jinja2.py BENCH_CHAT [TEMPLATE...]

BENCH_CHAT is the built bench_chat program; TEMPLATE names a folder of tests/fixtures/text/templates.
jinja2 is set up as transformers does it. Its time is given with and without reading the JSON; ours
always reads it. Needs `pip install jinja2` (a venv will do).
"""
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = os.path.dirname(os.path.abspath(__file__))
TEMPLATES = os.path.join(HERE, "..", "tests", "fixtures", "text", "templates")
ALL = sorted(os.listdir(TEMPLATES))
TEXT = ("The GPU's memory is paged in blocks of 16 tokens; a request takes what it needs.\n\"Why?\" - "
        "because prompts differ in length, and nobody knows how long an answer will be.")


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def environment():
    def refuse(message):
        raise jinja2.exceptions.TemplateError(message)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, loopcontrols])
    env.filters["tojson"] = lambda x, **kw: json.dumps(x, **{"ensure_ascii": False, **kw})
    env.globals["raise_exception"] = refuse
    env.globals["strftime_now"] = lambda f: datetime.utcfromtimestamp(0).strftime(f)
    return env


def load(env, name):
    folder = os.path.join(TEMPLATES, name)
    config = json.load(open(os.path.join(folder, "tokenizer_config.json")))
    path = os.path.join(folder, "chat_template.jinja")
    text = open(path).read() if os.path.exists(path) else config["chat_template"]
    tokens = {k: v["content"] if isinstance(v, dict) else v for k, v in config.items()
              if k.endswith("_token")}
    return env.from_string(text), tokens


def conversation(name):
    system = "mistral-7b" not in name
    messages = [{"role": "system" if i == 0 and system else "user" if i % 2 == system else "assistant",
                 "content": f"{i}. {TEXT}"} for i in range(20 if system else 19)]
    if messages[-1]["role"] != "user":
        messages.append({"role": "user", "content": TEXT})
    return json.dumps({"messages": messages, "add_generation_prompt": True})


def best(f, rounds=300):
    t = 1e9
    for _ in range(rounds):
        at = time.perf_counter()
        f()
        t = min(t, time.perf_counter() - at)
    return t * 1e6


def main():
    bench, names = sys.argv[1], sys.argv[2:] or ALL
    env = environment()
    print(f"jinja2 {jinja2.__version__}, Python {sys.version.split()[0]}, best of many")
    for name in names:
        text = conversation(name)
        with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
            f.write(text)
            f.flush()
            ours = json.loads(subprocess.check_output([bench, f.name, name]))
        template, tokens = load(env, name)
        variables = json.loads(text)
        fixed = {"tools": None, "documents": None, **tokens}

        def render(v=variables):
            return template.render(**{**fixed, **v})

        total = 0
        for b in render().encode():
            total = (total * 31 + b) & (2**64 - 1)
        theirs, with_json = best(render), best(lambda: render(json.loads(text)))
        print(f"{name}: {ours['best_us']:.1f} us (mean {ours['mean_us']:.1f}); jinja2 {theirs:.1f} us, "
              f"{with_json:.1f} us with JSON: {theirs / ours['best_us']:.1f}x, "
              f"{with_json / ours['best_us']:.1f}x; text "
              + ("equal" if total == ours["sum"] else "DIFFERS")
              + f", {ours['bytes']} bytes", flush=True)


if __name__ == "__main__":
    main()
