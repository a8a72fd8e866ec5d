"""Extraction for requests: prefixes of all of them are scored together, through the engine, under their rules."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ragdecode.decoding.composed_scoring import ComposedScorer
from ragdecode.decoding.extraction.best_first import BestFirst, Span, log_sum
from ragdecode.decoding.extraction.spans import span_trie
from ragdecode.decoding.grammar.quoting import Boundaries
from ragdecode.decoding.request import TARGET, Request, Result, Stats, TokenRecord
from ragdecode.decoding.vocabulary.vocabulary import Vocabulary
from ragdecode.errors import InputError


@dataclass(frozen=True)
class Extraction:
    """What is looked for.

    Attributes:
        top: How many spans are reported.
        by_length: Compare spans by the mean log-probability of their tokens and end, instead of by the sum.
        longest: Most tokens of a span.
        boundaries: Where spans begin and end.
        ends: Texts that end an answer, beside the model's end tokens: every token that begins with one counts.
        width: Prefixes that a round asks about.
        budget: Prefixes in all; a search that needs more ends with the best that it knows.
    """

    top: int = 1
    by_length: bool = False
    longest: int = 24
    boundaries: Boundaries = "words"
    ends: tuple[str, ...] = ("\n", ".")
    width: int = 16
    budget: int = 4000


class _Search:
    """The search of one request."""

    def __init__(self, request: Request, asked: Extraction) -> None:
        if request.vocabulary is None:
            raise InputError("the search extract reads tokens as bytes, and this request has no vocabulary")
        vocabulary = request.vocabulary
        self.request = request
        self.asked = asked
        self.lead = "" if _begins(vocabulary, request.views[TARGET].prompt[-1]) else " "
        self.trie = span_trie(
            [text for _, text in request.passages],
            vocabulary,
            longest=min(asked.longest, max(1, request.max_new_tokens - 1)),  # the end takes a place too
            boundaries=asked.boundaries,
            lead=self.lead,
        )
        self.finder = BestFirst(self.trie, top=asked.top, by_length=asked.by_length)
        self.ends = sorted({*request.end_tokens, *_beginning_with(vocabulary, asked.ends)})
        if not self.ends:
            raise InputError(
                "the search extract needs something that ends an answer: an end token, or a text that tokens begin with"
            )
        self.rounds = 0
        self.exact = True

    def wanted(self) -> tuple[list[Any], list[tuple[int, ...]]]:
        """Prefixes of the next round, and the token strings that tell what follows them."""
        if self.finder.expanded >= self.asked.budget:
            self.finder.settle()
            self.exact = False
            return [], []
        prefixes = self.finder.wanted(min(self.asked.width, self.asked.budget - self.finder.expanded))
        strings: list[tuple[int, ...]] = []
        for node, _ in prefixes:
            strings += [(*node.tokens, token) for token in self.after(node)]
        self.rounds += bool(prefixes)
        return prefixes, strings

    def after(self, node: Any) -> list[int]:
        """The tokens after a prefix whose probabilities matter."""
        return list(dict.fromkeys([*node.children, *(self.ends if node.places else ())]))

    def learn(self, prefixes: Sequence[Any], log_probs: Sequence[Sequence[float]]) -> None:
        """Take in the scores of the strings that were wanted."""
        place = 0
        for node, path in prefixes:
            tokens = self.after(node)
            known = {token: one[-1] for token, one in zip(tokens, log_probs[place:], strict=False)}
            place += len(tokens)
            end = log_sum([known[token] for token in self.ends]) if node.places else 0.0
            self.finder.learn(node, path, known, min(end, 0.0))


def extract(scorer: ComposedScorer, requests: Sequence[Request], asked: Extraction) -> list[Result]:
    """The most probable span of each request's passages as its answer; all requests are searched together.

    A span's probability is that of its tokens and of an end behind them, under the request's rules, as the beginning of
    the answer. Sampling, drafters, constraints and monitors do not count.

    Raises:
        InputError: A request has no vocabulary, nothing that ends an answer, or rules that cannot be scored.
        RunError: Memory ran out.
    """
    begun = time.perf_counter()
    searches = [_Search(request, asked) for request in requests]
    active = list(searches)
    while active:
        rounds = [(search, *search.wanted()) for search in active]
        rounds = [(search, prefixes, strings) for search, prefixes, strings in rounds if prefixes]
        scores = scorer([(search.request, strings) for search, _, strings in rounds])
        for (search, prefixes, _), found in zip(rounds, scores, strict=True):
            search.learn(prefixes, found)
        active = [search for search, _, _ in rounds]
    seconds = (time.perf_counter() - begun) / max(1, len(searches))
    return [_result(search, seconds) for search in searches]


def _result(search: _Search, seconds: float) -> Result:
    """The answer of a finished search."""
    request, found = search.request, search.finder.found
    texts = [_text(search, span) for span in found]
    best = found[0] if found else None
    tokens = list(best.node.tokens) if best else []
    notes = [] if best else ["search extract: there is no passage to take a span from, so the answer is empty"]
    if not search.exact:
        notes.append(
            f"search extract: stopped after {search.finder.expanded} prefixes; a better span may not have been seen"
        )
    records = [
        TokenRecord(position, token, log_prob, {}, "extract")
        for position, (token, log_prob) in enumerate(zip(tokens, best.tokens if best else (), strict=True))
    ]
    stats = Stats(
        prompt_tokens=len(request.views[TARGET].prompt),
        new_tokens=len(tokens),
        committed=len(tokens),
        steps=search.rounds,
        forward_passes=search.rounds,
        forward_rows=search.rounds,
        decode_seconds=seconds,
    )
    return Result(
        id=request.id,
        tokens=tokens,
        text=texts[0] if texts else "",
        finish_reason="stop",
        records=records,
        stats=stats,
        monitors={},
        notes=tuple(notes),
        search={
            "spans": [_told(search, span, text) for span, text in zip(found, texts, strict=True)],
            "expanded": search.finder.expanded,
            "rounds": search.rounds,
            "exact": search.exact,
        },
    )


def _told(search: _Search, span: Span, text: str) -> dict[str, Any]:
    """A span for the record; of several places the first."""
    place = span.node.places[0]
    return {
        "text": text,
        "logprob": span.log_prob,
        "mean_logprob": span.log_prob / (len(span.node.tokens) + 1),
        "passage": search.request.passages[place.passage][0],
        "start": place.start,
        "end": place.end,
    }


def _text(search: _Search, span: Span) -> str:
    place = span.node.places[0]
    return search.request.passages[place.passage][1][place.start : place.end]


def _begins(vocabulary: Vocabulary, last: int) -> bool:
    """Whether what follows a token begins without a blank: a control token, or one that ends with white space."""
    written = vocabulary.writes(last)
    return not written or written[-1:].isspace()


def _beginning_with(vocabulary: Vocabulary, texts: Sequence[str]) -> list[int]:
    heads = tuple(text.encode() for text in texts)
    return [id_ for id_, token in enumerate(vocabulary.tokens) if token and heads and token.startswith(heads)]
