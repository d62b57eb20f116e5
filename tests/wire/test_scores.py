# SPDX-License-Identifier: Apache-2.0
"""Log probabilities of the prompt: "echo" with "logprobs", and "prompt_logprobs".

They are compared with what the server says when it is made to generate the very same tokens, one request a
token: the tiny model computes each position alike, whatever is beside it.
"""

import json

import pytest

import tiny
from rig import events, request, serve

TEXT, CHAT = "/v1/completions", "/v1/chat/completions"
PROMPT = "The zzzz cat, \u20ac\U0001f600 and zz."
K = 3


def ids_of(server, text):
    return server.post("/tokenize", {"prompt": text}).json()["tokens"]


def ask(server, **body):
    a = server.post(TEXT, {"temperature": 0, **body})
    assert a.status == 200, a.body
    return a.json()


@pytest.fixture(scope="module")
def truth(server):
    """(logprob, {token: logprob} of the K best, rank) of each token of PROMPT but the first, from generation."""
    ids, out = ids_of(server, PROMPT), []
    for i in range(1, len(ids)):
        body = dict(prompt=ids[:i], max_tokens=1, ignore_eos=True, return_tokens_as_token_ids=True)
        forced = ask(server, **body, logprobs=0, allowed_token_ids=[ids[i]])["choices"][0]["logprobs"]
        best = ask(server, **body, logprobs=20)["choices"][0]["logprobs"]["top_logprobs"][0]
        assert forced["tokens"] == [f"token_id:{ids[i]}"]
        mine = forced["token_logprobs"][0]
        order = sorted(best.items(), key=lambda kv: -kv[1])
        rank = 1 + sum(v > mine for v in best.values())
        out.append((mine, dict(order[:K]), rank if rank <= 20 else None))
    return ids, out


def check_echo(lp, truth, n_new, ids_as_texts=True):
    ids, want = truth
    assert {len(v) for v in lp.values()} == {len(ids) + n_new}
    assert lp["token_logprobs"][0] is None and lp["top_logprobs"][0] is None
    for i, (mine, best, _) in enumerate(want, 1):
        assert lp["token_logprobs"][i] == mine, i
        top = lp["top_logprobs"][i]
        if ids_as_texts:
            name = f"token_id:{ids[i]}"
            assert lp["tokens"][i] == name
            assert top == {**best, name: mine}, i
        assert mine in top.values()


@pytest.mark.parametrize("new", [0, 1, 4])
@pytest.mark.parametrize("stream", [False, True])
def test_echo_with_logprobs(server, truth, new, stream):
    body = dict(prompt=PROMPT, max_tokens=new, ignore_eos=True, echo=True, logprobs=K, temperature=0,
                return_tokens_as_token_ids=True)
    plain = ask(server, prompt=PROMPT, max_tokens=max(new, 1), ignore_eos=True, logprobs=K,
                return_tokens_as_token_ids=True)["choices"][0]
    if stream:
        ev = [json.loads(e)["choices"][0] for e in events(server.post(TEXT, {**body, "stream": True}).body)[:-1]]
        assert ev[0]["text"].startswith(PROMPT) and len(ev[0]["logprobs"]["tokens"]) >= len(truth[0])
        text = "".join(e["text"] for e in ev)
        lp = {k: sum((e["logprobs"][k] for e in ev if e["logprobs"]), []) for k in ev[0]["logprobs"]}
        finish = ev[-1]["finish_reason"]
    else:
        answer = ask(server, **body)
        c, usage = answer["choices"][0], answer["usage"]
        text, lp, finish = c["text"], c["logprobs"], c["finish_reason"]
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (len(truth[0]), new)
        assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    assert finish == "length"
    assert text == PROMPT + (plain["text"] if new else "")
    check_echo(lp, truth, new)
    if new:
        assert lp["token_logprobs"][-new:] == plain["logprobs"]["token_logprobs"]
        assert lp["text_offset"][-new:] == [len(PROMPT) + x for x in plain["logprobs"]["text_offset"]]


def test_offsets_run_through_the_text(server):
    lp = ask(server, prompt=PROMPT, max_tokens=0, echo=True, logprobs=0)["choices"][0]["logprobs"]
    at = 0
    for token, offset, top in zip(lp["tokens"], lp["text_offset"], lp["top_logprobs"]):
        assert top is None or list(top) == [token]
        if token.startswith("bytes:"):  # a byte of a character: it stands where the character begins
            assert offset in (PROMPT.index("\u20ac"), PROMPT.index("\U0001f600"))
            at = offset + 1
        else:
            assert PROMPT[offset:].startswith(token) and offset == at
            at += len(token)
    assert at == len(PROMPT)


def test_prompt_logprobs(server, truth):
    ids, want = truth
    for path, prompt in ((TEXT, {"prompt": ids}), (CHAT, {"messages": [{"role": "user", "content": PROMPT}]})):
        body = {**prompt, "max_tokens": 2, "prompt_logprobs": K, "n": 2, "seed": 1}
        a = server.post(path, {**body, "return_token_ids": True}).json()
        given = a["prompt_token_ids"] if path == CHAT else ids
        assert a["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
        first, second = (c["prompt_logprobs"] for c in a["choices"])
        assert first == second and len(first) == len(given) and first[0] is None
        assert path == TEXT or a["prompt_logprobs"] == first  # vLLM has a chat's there
        for i, entry in enumerate(first[1:], 1):
            own = entry[str(given[i])]
            assert list(entry)[0] == str(given[i]) and set(own) == {"logprob", "rank", "decoded_token"}
            assert len(entry) == (K if own["rank"] <= K else K + 1)
            assert {e["rank"] for e in entry.values()} == {*range(1, K + 1), own["rank"]}
            by_rank = sorted(entry.values(), key=lambda e: e["rank"])
            assert by_rank == sorted(by_rank, key=lambda e: -e["logprob"])
            if path == TEXT:
                assert own["logprob"] == want[i - 1][0] and want[i - 1][2] in (None, own["rank"])
                assert {f"token_id:{t}": e["logprob"] for t, e in entry.items() if e["rank"] <= K} == want[i - 1][1]
        ev = [json.loads(e) for e in events(server.post(path, {**body, "stream": True}).body)[:-1]]
        for k in range(2):
            mine = [e["choices"][0] for e in ev if e["choices"] and e["choices"][0]["index"] == k]
            assert mine[0]["prompt_logprobs"] == first
            assert not any("prompt_logprobs" in c for c in mine[1:])
    a = ask(server, prompt="zz\u20ac", max_tokens=1, prompt_logprobs=0)["choices"][0]["prompt_logprobs"]
    assert [len(e) for e in a[1:]] == [1] * (len(a) - 1)
    assert [next(iter(e.values()))["decoded_token"] for e in a[1:]] == ["\ufffd"] * 3
    a = ask(server, prompt="zz.", max_tokens=1, prompt_logprobs=0, return_tokens_as_token_ids=True)
    dot = tiny.token_id(".")
    assert a["choices"][0]["prompt_logprobs"][1][str(dot)]["decoded_token"] == f"token_id:{dot}"


def test_both_with_numbers_of_their_own(server, truth):
    a = ask(server, prompt=truth[0], max_tokens=1, echo=True, logprobs=0, prompt_logprobs=5,
            return_tokens_as_token_ids=True)["choices"][0]
    assert [len(t) for t in a["logprobs"]["top_logprobs"][1:]] == [1] * len(truth[0])
    assert a["logprobs"]["token_logprobs"][1:-1] == [w[0] for w in truth[1]]
    assert all(len(e) in (5, 6) for e in a["prompt_logprobs"][1:])


def test_the_shortest_prompts(server):
    for new in (0, 1):
        for n in (1, 2):
            a = ask(server, prompt=[9] * n, max_tokens=new, echo=True, logprobs=1, prompt_logprobs=1)["choices"][0]
            assert len(a["logprobs"]["tokens"]) == n + new and len(a["prompt_logprobs"]) == n
            assert a["prompt_logprobs"][0] is None and a["logprobs"]["token_logprobs"][0] is None
            assert a["finish_reason"] == "length"


@pytest.mark.parametrize("stream", [False, True])
def test_batches_and_many_choices(server, stream):
    """Every choice has its own prompt's part, once; the prompts are of very different lengths, as ids and as text."""
    for prompts in ([[9, 10, 11], [12] * 700, [13], [14, 15] * 30], ["ab", "c" * 900, "d", "ef" * 30]):
        body = dict(prompt=prompts, max_tokens=2, n=3, seed=5, ignore_eos=True, echo=True, logprobs=1,
                    return_tokens_as_token_ids=True)
        whole = ask(server, **body)["choices"]
        assert [c["index"] for c in whole] == list(range(12))
        for c in whole:
            p = prompts[c["index"] // 3]
            assert len(c["logprobs"]["tokens"]) == len(p) + 2
            assert c["logprobs"]["token_logprobs"].count(None) == 1
            assert c["logprobs"]["token_logprobs"][: len(p)] == whole[c["index"] // 3 * 3]["logprobs"]["token_logprobs"][: len(p)]
        if stream:
            got = {}
            for e in events(server.post(TEXT, {**body, "temperature": 0, "stream": True}).body)[:-1]:
                c = json.loads(e)["choices"][0]
                text, lp = got.setdefault(c["index"], ("", []))
                if not lp:
                    n = len(prompts[c["index"] // 3])
                    assert c["logprobs"] and len(c["logprobs"]["tokens"]) >= n, "the prompt comes first"
                got[c["index"]] = (text + c["text"], lp + (c["logprobs"]["token_logprobs"] if c["logprobs"] else []))
            for c in whole:
                assert got[c["index"]] == (c["text"], c["logprobs"]["token_logprobs"])


def test_best_of(server, truth):
    a = ask(server, prompt=PROMPT, max_tokens=3, n=2, best_of=5, temperature=1, seed=3, echo=True, logprobs=K,
            ignore_eos=True, return_tokens_as_token_ids=True)
    assert len(a["choices"]) == 2 and a["usage"]["completion_tokens"] == 15
    for c in a["choices"]:
        check_echo(c["logprobs"], truth, 3)
        assert c["text"].startswith(PROMPT)


def test_the_cache_is_filled_but_not_read(server):
    prompt = [20 + i % 50 for i in range(400)]

    def cached(**body):
        return ask(server, prompt=prompt, max_tokens=1, **body)["usage"]["prompt_tokens_details"]["cached_tokens"]

    assert [cached(), cached(echo=True, logprobs=1), cached(prompt_logprobs=0), cached()] == [0, 0, 0, 399]
    other = [80 + i % 50 for i in range(400)]
    ask(server, prompt=other, max_tokens=0, echo=True, logprobs=1)
    assert ask(server, prompt=other, max_tokens=1)["usage"]["prompt_tokens_details"]["cached_tokens"] >= 384


def test_costs_are_refused_before_any_work(server):
    for path, body, param in (
        (TEXT, {"prompt": [9] * 60000, "max_tokens": 1, "prompt_logprobs": 20}, "prompt_logprobs"),
        (TEXT, {"prompt": [9] * 60000, "max_tokens": 0, "echo": True, "logprobs": 20, "n": 4}, "logprobs"),
        (TEXT, {"prompt": [9] * 60000, "max_tokens": 0, "echo": True, "logprobs": 20, "n": 4, "stream": True}, "logprobs"),
        (CHAT, {"messages": [{"role": "user", "content": "a" * 40000}], "max_tokens": 1, "prompt_logprobs": 20},
         "prompt_logprobs"),
    ):
        before = server.metrics().get("vllm:prompt_tokens_total", 0)
        a = server.post(path, body)
        assert a.status == 400 and a.error["param"] == param, a.body[:300]
        assert server.metrics().get("vllm:prompt_tokens_total", 0) == before


def test_long_prompts_in_many_steps_beside_others(server):
    """12,000 tokens with their 2 best, while another client decodes; the values do not depend on it."""
    prompt = [20 + i * i % 100 for i in range(12000)]
    body = dict(prompt=prompt, max_tokens=0, echo=True, logprobs=2, return_tokens_as_token_ids=True)
    alone = ask(server, **body)["choices"][0]["logprobs"]
    with server.conn(60) as c:
        c.send(request("POST", TEXT, {"prompt": "x", "max_tokens": 3000, "ignore_eos": True}))
        beside = ask(server, **body)["choices"][0]["logprobs"]
        assert c.answer().status == 200
    assert alone == beside and len(alone["tokens"]) == 12000


def test_a_client_that_leaves(server):
    prompt = [20 + i * i % 100 for i in range(30000)]
    for stream in (False, True):
        with server.conn() as c:
            c.send(request("POST", TEXT, {"prompt": prompt, "max_tokens": 5, "echo": True, "logprobs": 5, "stream": stream}))
    assert ask(server, prompt="x", max_tokens=0, echo=True, logprobs=1)


def test_small_steps_and_a_small_pool():
    """Chunks of 16 tokens, and pages for five of the eight answers: whatever is preempted is told once."""
    prompts = [[9 + i] * 40 + [60 + i * 7 % 100] * 60 for i in range(8)]
    body = dict(prompt=prompts, max_tokens=100, ignore_eos=True, temperature=0, echo=True, logprobs=1)
    with serve() as a:
        want = [c["logprobs"]["token_logprobs"] for c in ask(a, **body)["choices"]]
    with serve("scheduler.max_step_tokens=16", "kv.pool_bytes=140KiB", "scheduler.max_seqs=8",
               "model.max_model_len=256") as b:
        got = [c["logprobs"]["token_logprobs"] for c in ask(b, **body)["choices"]]
        assert b.metrics()["vllm:num_preemptions_total"] > 0
    assert got == want
