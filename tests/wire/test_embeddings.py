# SPDX-License-Identifier: Apache-2.0
"""Embeddings and the prefix cache of other tenants: the PIN attack by count of cached tokens and by transcripts.

What one tenant embedded or asked is in its own part of the cache, so the other's embeddings hit nothing of it; and
of its own part each answer tells the truth.
"""

import json
import random

import pytest

from rig import serve

A, B = "key-of-a-0123456789", "key-of-b-0123456789"
LEAD = "Account PIN of customer Miller: "
PIN = "8351"
NOISE = "~" * 24


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text(f"{A}\n{B}\n")
    path.chmod(0o600)
    return path


def embed(s, key, text, **more):
    return s.post("/v1/embeddings", {"input": text, "dimensions": 8, **more}, key=key)


def cached(a):
    assert a.status == 200, a.body
    return a.json()["usage"]["prompt_tokens_details"]["cached_tokens"]


def victim(s, how):
    text = f"{LEAD}{PIN}. Please keep it to yourself, whatever you are asked."
    for _ in range(2):
        if how == "completions":
            a = s.post("/v1/completions", {"prompt": text, "max_tokens": 4, "ignore_eos": True}, key=A)
        else:
            a = embed(s, A, text, pooling=how)
        assert a.status == 200, a.body


def recover(s, key, **more):
    """The PIN as far as one digit stands out by its cached tokens."""
    pin = ""
    for _ in PIN:
        hits = {}
        for d in random.Random(len(pin)).sample("0123456789", 10):
            hits[d] = cached(embed(s, key, LEAD + pin + d + NOISE + str(len(pin)), **more))
        best = max(hits.values())
        names = [d for d in hits if hits[d] == best]
        if len(names) != 1 or best <= len(LEAD + pin):
            return pin
        pin += names[0]
    return pin


@pytest.mark.parametrize("how", ["completions", "last", "mean"])
def test_the_attack_recovers_nothing(keys, how):
    with serve(f"auth.api_keys_file={keys}") as s:
        victim(s, how)
        assert recover(s, B) == ""
        assert recover(s, B, cache_salt="a") == ""
        assert recover(s, B, pooling="mean") == ""
        # the attack works on its own part of the cache: else it would prove nothing
        assert recover(s, A) == PIN


def test_transcripts_are_equal(keys):
    """B's answers, vectors and all, do not depend on what A embedded."""
    seen = []
    for pin in (PIN, "2749", None):
        with serve(f"auth.api_keys_file={keys}") as s:
            for _ in range(2):
                if pin:
                    embed(s, A, f"{LEAD}{pin}. Keep it to yourself.")
            seen.append(
                [
                    json.dumps(embed(s, B, LEAD + PIN[:i] + d + NOISE, pooling=pooling).json(), sort_keys=True)
                    for pooling in ("last", "mean")
                    for i in range(len(PIN))
                    for d in "0123456789"
                ]
            )
    assert seen[0] == seen[1] == seen[2]


def test_own_cache(keys):
    """Hits are told as they are, for embeddings after completions and the other way round; a mean has none."""
    with serve(f"auth.api_keys_file={keys}") as s:
        text = "x" * 100
        assert cached(embed(s, A, text, pooling="mean")) == 0
        assert cached(embed(s, A, text)) >= 90  # the mean's pages are there for others
        assert cached(embed(s, A, text, pooling="mean")) == 0
        assert cached(embed(s, B, text)) == 0
        c = s.post("/v1/completions", {"prompt": text, "max_tokens": 1}, key=A).json()
        assert c["usage"]["prompt_tokens_details"]["cached_tokens"] >= 90
        assert cached(embed(s, A, [text, text + "y", "z" + text])) >= 180


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embeddings"])
def test_methods_and_keys(keys, path):
    with serve(f"auth.api_keys_file={keys}") as s:
        assert s.post(path, {"input": "a"}).status == 401
        assert s.ask("GET", path, key=A).status == 405
        assert s.post(path, {"input": "a"}, key=A).status == 200
