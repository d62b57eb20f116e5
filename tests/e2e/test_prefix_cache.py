# SPDX-License-Identifier: Apache-2.0
"""Prefix hits: exact to the token, reported in usage, and felt in the time to first token."""
import random
import time


def ttft(client, **ask):
    """Seconds from sending the request to its first token, and the usage of the last chunk."""
    t = time.monotonic()
    first, usage = None, None
    for chunk in client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **ask):
        if chunk.choices and first is None:
            first = time.monotonic() - t
        if chunk.usage:
            usage = chunk.usage
    return first, usage


def test_shared_system_prompt(client, server, model):
    words = "river stone lamp orchard winter silver thread market engine harbour".split()
    rng = random.Random(5)
    system = " ".join(rng.choice(words) for _ in range(1494))
    n = client.post("/tokenize", cast_to=object,
                    body={"messages": [{"role": "system", "content": system}], "add_generation_prompt": False})["count"]
    assert 1495 <= n <= 1550
    times, cached = [], []
    for i in range(50):
        t, usage = ttft(client, model=model, max_tokens=2, temperature=0,
                        messages=[{"role": "system", "content": system}, {"role": "user", "content": f"Question {i}?"}])
        times.append(t)
        cached.append(usage.prompt_tokens_details.cached_tokens)
    print(f"system prompt {n} tokens, cached {min(cached[1:])}..{max(cached[1:])}, "
          f"ttft first {times[0] * 1e3:.1f} ms, median rest {sorted(times[1:])[24] * 1e3:.1f} ms")
    assert cached[0] == 0 or cached[0] < 32
    assert min(cached[1:]) >= n - 8 >= 1480
    assert sorted(times[1:])[24] * 5 <= times[0]


def test_partial_page(client, server, model):
    rng = random.Random(9)
    base = [rng.randrange(1000, 40000) for _ in range(1200)]
    kw = dict(model=model, max_tokens=1, temperature=0)
    client.completions.create(prompt=base, **kw)
    for shared in (1003, 16, 17, 15, 1, 1199):
        other = base[:shared] + [rng.randrange(1000, 40000) for _ in range(40)]
        other[shared] = base[shared] ^ 1 if shared < 1200 else other[shared]
        usage = client.completions.create(prompt=other, **kw).usage
        assert usage.prompt_tokens_details.cached_tokens == shared
    usage = client.completions.create(prompt=base, **kw).usage  # all but the last token, which must be computed
    assert usage.prompt_tokens_details.cached_tokens == 1199
