"""Exact extraction against brute force over all spans."""

from __future__ import annotations

import math
import random
import re
from dataclasses import replace

import pytest

from ragdecode.decoding.composed_scoring import ComposedScorer
from ragdecode.decoding.extraction.best_first import BestFirst
from ragdecode.decoding.extraction.extracting import Extraction, extract
from ragdecode.decoding.extraction.spans import Node, span_trie
from ragdecode.decoding.request import View
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.errors import InputError
from tests.decoding.grammar_world import END, TOKENS, VOCAB, backend, request, vocabulary

PASSAGES = (("p1", "The quick brown fox's den."), ("p2", "Paris is the city; Paris, é."))
NEWLINE = [id_ for id_, token in enumerate(TOKENS) if token and token.startswith(b"\n")]


def spans(passages, longest, lead=""):
    """All spans of words: tokens (the longest ones from the left) -> texts and places; independent of the trie."""
    found = {}
    for name, text in passages:
        words = list(re.finditer(r"\w+|[^\w\s]", text))
        for first in words:
            reading = vocabulary().read((lead + text[first.start() :]).encode())
            for last in words:
                if last.end() <= first.start():
                    continue
                for count in range(1, min(longest, len(reading)) + 1):
                    if vocabulary().write(reading[:count]) == (lead + text[first.start() : last.end()]).encode():
                        found.setdefault(tuple(reading[:count]), (name, first.start(), last.end()))
    return found


def scorer():
    return ComposedScorer({"main": backend()}, vocab_size=VOCAB)


def brute(asked, ends, longest, lead=""):
    """Sum of log-probabilities with the end, for every span, each scored alone."""
    candidates = list(spans(asked.passages, longest, lead))
    told = scorer()([(asked, [(*tokens, end) for tokens in candidates for end in ends])])[0]
    scores = {}
    for place, tokens in enumerate(candidates):
        rows = told[place * len(ends) : (place + 1) * len(ends)]
        scores[tokens] = sum(rows[0][:-1]) + math.log(sum(math.exp(row[-1]) for row in rows))
    return scores


@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize("ruled", [False, True])
def test_it_equals_brute_force(by_length, ruled):
    asked = []
    for seed in range(3):
        one = request(f"e{seed}", passages=PASSAGES, max_new_tokens=40)
        if ruled:
            views = {**one.views, "without_context": View(list(one.views["with_context"].prompt[4:]))}
            one = replace(one, views=views, rules=[Cad(CadSettings(alpha=0.5))])
        asked.append(one)
    results = extract(scorer(), asked, Extraction(top=4, by_length=by_length, longest=9, ends=("\n",), width=3))
    for one, result in zip(asked, results, strict=True):
        last = TOKENS[one.views["with_context"].prompt[-1]]
        lead = "" if last is None or last[-1:].isspace() else " "
        scores = brute(one, [END, *NEWLINE], 9, lead)
        key = {tokens: score / (len(tokens) + 1) if by_length else score for tokens, score in scores.items()}
        best = sorted(key, key=key.__getitem__, reverse=True)[:4]
        told = result.search["spans"]
        assert tuple(result.tokens) == best[0]
        for tokens, span in zip(best, told, strict=True):
            assert span["logprob"] == pytest.approx(scores[tokens], abs=1e-9)
            assert span["mean_logprob"] == pytest.approx(scores[tokens] / (len(tokens) + 1), abs=1e-9)
            name, start, end = spans(PASSAGES, 9, lead)[tokens]
            assert (span["passage"], span["start"], span["end"]) == (name, start, end)
            assert span["text"] == dict(PASSAGES)[name][start:end]
        assert result.text == told[0]["text"]
        assert result.finish_reason == "stop"
        assert [record.logprob for record in result.records] == pytest.approx(
            scorer()([(one, [result.tokens])])[0][0], abs=1e-9
        )
        assert result.search["exact"]
        if not by_length:
            assert result.search["expanded"] < len(scores)


def toy(seed):
    """A random trie with random log-probabilities: for every prefix its children's, and its end's."""
    rng = random.Random(seed)
    texts = ["".join(rng.choices("abc", k=rng.randrange(3, 9))) for _ in range(2)]
    vocabulary_ = vocabulary()
    trie = span_trie(texts, vocabulary_, longest=5, boundaries="characters")
    scores = {}

    def weigh(node: Node):
        scores[node.tokens] = {token: math.log(rng.uniform(0.01, 0.5)) for token in node.children}
        scores[node.tokens][END] = math.log(rng.uniform(0.01, 0.5))
        for child in node.children.values():
            weigh(child)

    weigh(trie)
    return trie, scores


def ended(node: Node):
    yield from ([node] if node.places else [])
    for child in node.children.values():
        yield from ended(child)


@pytest.mark.parametrize("by_length", [False, True])
def test_best_first_is_exact_on_three_hundred_toys(by_length):
    spared = 0
    for seed in range(300):
        trie, scores = toy(seed)
        finder = BestFirst(trie, top=2, by_length=by_length)
        while prefixes := finder.wanted(1 + seed % 4):
            for node, path in prefixes:
                finder.learn(node, path, scores[node.tokens], scores[node.tokens][END])
        every = {}
        for node in ended(trie):
            steps = [scores[node.tokens[:depth]][token] for depth, token in enumerate(node.tokens)]
            total = sum(steps) + scores[node.tokens][END]
            every[node.tokens] = total / (len(node.tokens) + 1) if by_length else total
        best = sorted(every, key=every.__getitem__, reverse=True)[:2]
        assert [span.node.tokens for span in finder.found] == best
        assert [span.score for span in finder.found] == pytest.approx([every[tokens] for tokens in best])
        spared += len(every) - finder.expanded
    assert spared > 0


def test_what_is_missing_is_said():
    (empty,) = extract(scorer(), [request("none")], Extraction())
    assert (empty.text, empty.tokens, empty.search["spans"]) == ("", [], [])
    assert "no passage" in empty.notes[0]
    with pytest.raises(InputError, match="ends an answer"):
        extract(scorer(), [request("open", end_tokens=frozenset(), passages=PASSAGES)], Extraction(ends=()))
    (short,) = extract(scorer(), [request("short", passages=PASSAGES)], Extraction(budget=5, width=2))
    assert not short.search["exact"]
    assert "5 prefixes" in short.notes[0]


def test_one_answer_does_not_depend_on_the_others():
    asked = [request(f"n{seed}", passages=PASSAGES) for seed in range(3)]
    together = extract(scorer(), asked, Extraction())
    alone = [extract(scorer(), [one], Extraction(width=5))[0] for one in asked]
    assert [one.tokens for one in together] == [one.tokens for one in alone]
