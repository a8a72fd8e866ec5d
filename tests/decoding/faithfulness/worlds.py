"""Tiny engines whose tokens are pieces of text, so that their answers have sentences."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch

from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.request import Request
from tests.decoding.engines import VOCAB, prompt, request
from tests.decoding.tiny_models import tiny

_WORDS = ["tower", "Paris", "cat", "1889", "Eiffel", "metres", "is", "the", "The", "It", "was", "not", "330", "blue"]
#: Bytes of each token: words, ends of sentences, line ends, wide marks, and single bytes of a character.
PIECES = [b"", b"", b""]
PIECES += [f" {word}".encode() for word in _WORDS * 3]
PIECES += [b".", b". ", b"!", b"?", b".\n\n", b"\n", b" U.S.", b" Dr."] * 4
PIECES += ["。".encode(), "？我".encode(), " д".encode()[:2], " д".encode()[2:], "।".encode(), b" ", b"- "] * 2
PIECES += [b" x"] * (VOCAB - len(PIECES))
END = 2
EVIDENCE = [("a", "The tower is 330 metres. It was in Paris in 1889."), ("b", "The cat is blue.")]


def text_of(tokens: Sequence[int]) -> str:
    return b"".join(PIECES[token] for token in tokens).decode("utf-8", "replace")


@cache
def deep():
    """A model whose three middle layers are not the same: after 8, 9 and 10 blocks of 18."""
    return tiny("llama", vocab_size=VOCAB, seed=3, num_hidden_layers=18)


def backend(stock=None) -> LlamaBackend:
    stock = stock or deep()
    return LlamaBackend(stock.config.to_dict(), stock.state_dict(), dtype=torch.float64)


def engine(stock=None, **settings) -> Engine:
    return Engine({"main": backend(stock)}, **settings)


def ask(name: str, seed: int, *monitors, limit: int = 40, evidence=EVIDENCE, **settings) -> Request:
    views = {"with_context": prompt(seed, 9), "without_context": prompt(seed + 50, 5)}
    return request(
        name,
        views,
        monitors=monitors,
        detokenize=text_of,
        passages=evidence,
        max_new_tokens=limit,
        end_tokens=frozenset({END}),
        **settings,
    )
