"""A small vocabulary that can write JSON and prose, and engines over it."""

from __future__ import annotations

import random
from functools import cache

import torch

from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.decoding.drafter import Draft, Drafter, DraftSession
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.request import Request, View
from ragdecode.decoding.textstream import TextStream
from ragdecode.decoding.vocabulary.vocabulary import Vocabulary
from ragdecode.spec.settings import NoSettings
from tests.decoding.codecs import TableCodec
from tests.decoding.tiny_models import tiny

END = 2
_MERGES = [
    '{"', '":', '"}', '","', '":"', "true", "false", "null", "name", "age", "}}", "]}", "[]", "12", "0.5", "ab", "red",
    "green", ", ", ": ", "the ", " the", "th", "in", "er", "“", "”", " “", "”.", "<quote>", "</quote>", "<q", "uote>x",
    "x“a", "é", "a”b", "quick", " brown", "wn f", "Par", "is", ". T",
]  # fmt: skip
TOKENS = [None, None, None, *(bytes([byte]) for byte in range(256)), *(text.encode() for text in _MERGES)]
VOCAB = len(TOKENS)


@cache
def vocabulary() -> Vocabulary:
    return Vocabulary(TableCodec(TOKENS))


@cache
def backend(seed: int = 0) -> LlamaBackend:
    stock = tiny("llama", vocab_size=VOCAB, seed=seed, max_position_embeddings=2048)
    return LlamaBackend(stock.config.to_dict(), stock.state_dict(), dtype=torch.float64)


def engine(seed: int = 0, **settings) -> Engine:
    return Engine({"main": backend(seed)}, **settings)


def detokenize(ids) -> str:
    return vocabulary().write(ids).decode("utf-8", "replace")


def ids_of(text: str) -> list[int]:
    return vocabulary().read(text.encode())


def request(name: str, **settings) -> Request:
    rng = random.Random(name)
    given = {
        "views": {"with_context": View([rng.randrange(3, VOCAB) for _ in range(12)])},
        "vocabulary": vocabulary(),
        "detokenize": detokenize,
        "tokenize": ids_of,
        "end_tokens": frozenset({END}),
        "max_new_tokens": 120,
    }
    return Request(name, **{**given, **settings})


def text_of(ids) -> str:
    stream = TextStream(detokenize)
    for token in ids:
        stream.push(token)
    stream.flush()
    return stream.text


class NoisyDrafter(Drafter):
    """Proposes trees out of a known answer and random tokens, the end among them."""

    part_name = "noisy"

    def __init__(self, answer, seed: int) -> None:
        super().__init__(NoSettings())
        self.answer, self.seed = list(answer), seed

    def start(self, request) -> DraftSession:
        return _Noisy(self)


class _Noisy(DraftSession):
    def __init__(self, parent: NoisyDrafter) -> None:
        self.parent, self.at, self.rng = parent, 0, random.Random(parent.seed)

    def propose(self, nodes: int) -> Draft:
        tokens, parents, last = [], [], -1
        for token in [*self.parent.answer, END][self.at : self.at + self.rng.randrange(nodes + 1)]:
            for wrong in (self.rng.randrange(VOCAB), END):
                tokens.append(wrong)
                parents.append(last)
            tokens.append(token)
            parents.append(last)
            last = len(tokens) - 1
        return Draft(tokens, parents, [self.rng.random() for _ in tokens])

    def observe(self, verified) -> None:
        self.at += len(verified.committed)

    def rewind(self, length: int) -> None:
        self.at = length
