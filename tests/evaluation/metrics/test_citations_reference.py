"""Citation scores against ALCE's definition, written anew as one loop over sentences and citations."""

from __future__ import annotations

import random
import re

import pytest

from ragdecode.evaluation.example import Answered, Example
from ragdecode.evaluation.metrics.citation_scores import CitationScores, CitationSettings
from ragdecode.evaluation.metrics.citations import citations, cited_sentences
from ragdecode.pipeline.passage import Passage


def by_facts(premise, hypothesis):
    """A judge that knows all: letters of the hypothesis must all stand in the premise."""
    return set(hypothesis.split()) <= set(premise.split())


def reference(sentences, passages, entails):
    """(sentence recall, citation precision) as the sheet tells ALCE's code."""
    recalled, total, counted = 0, 0, 0
    for sentence in sentences:
        refs = [int(one) - 1 for one in re.findall(r"\[(\d+)\]", sentence)]
        inside = [one for one in refs if one in range(len(passages))]
        total += len(inside)
        target = re.sub(r"\[\d+\]", "", sentence)
        target = re.sub(r"\s+", " ", target).strip()
        joint = bool(refs) and len(inside) == len(refs) and entails("\n".join(passages[i] for i in refs), target)
        recalled += joint
        if not joint:
            continue
        if len(refs) == 1:
            counted += 1
            continue
        for place in range(len(refs)):
            if entails(passages[refs[place]], target):
                counted += 1
                continue
            others = [passages[refs[i]] for i in range(len(refs)) if i != place]
            counted += not entails("\n".join(others), target)
    return recalled / len(sentences), counted / total if total else 0.0


PASSAGES = ["a b", "c d", "a b c d", "x"]


@pytest.mark.parametrize(
    ("sentences", "recall", "precision"),
    [
        (["a b [1]"], 1.0, 1.0),  # one citation, and it supports
        (["a b"], 0.0, 0.0),  # nothing is cited
        (["a b [1][9]"], 0.0, 0.0),  # out of range: the sentence is unsupported; the other citation is not needed
        (["a c [4]"], 0.0, 0.0),  # cited, but not supported
        (["a c [1][2]"], 1.0, 1.0),  # neither alone supports, both are needed
        (["a b [1][2]"], 1.0, 0.5),  # the second does not support and is not needed
        (["a b c [3][1]"], 1.0, 0.5),  # one supports alone, the other does not and is not needed
        (["a b [1][3]"], 1.0, 1.0),  # both support alone: both count
        (["a b [1]", "zz [1]", "x [4]", "c"], 0.5, 2 / 3),
        (["a b [0]"], 0.0, 0.0),  # there is no passage 0
    ],
)
def test_every_branch(sentences, recall, precision):
    found = citations(sentences, PASSAGES, by_facts)
    assert (found.recall, found.precision) == pytest.approx((recall, precision))
    assert reference(sentences, PASSAGES, by_facts) == pytest.approx((recall, precision))


def test_random_answers_equal_the_reference():
    draw = random.Random(3)
    letters = "abcdef"
    seen = set()
    for _ in range(400):
        passages = [" ".join(draw.sample(letters, draw.randint(1, 4))) for _ in range(draw.randint(1, 4))]
        sentences = [
            " ".join(draw.sample(letters, draw.randint(1, 3)))
            + " "
            + "".join(f"[{draw.randint(1, len(passages) + (draw.random() < 0.2))}]" for _ in range(draw.randint(0, 3)))
            for _ in range(draw.randint(1, 4))
        ]
        found = citations(sentences, passages, by_facts)
        wanted = reference(sentences, passages, by_facts)
        assert (found.recall, found.precision) == pytest.approx(wanted)
        seen.add(wanted)
    assert len(seen) > 20


@pytest.mark.parametrize(
    ("answer", "sentences"),
    [
        ("It is old. [1] It is red. [2][3]", ["It is old. [1]", "It is red. [2][3]"]),  # as ragdecode prints them
        ("It is old [1]. It is red [2] [3].", ["It is old. [1]", "It is red. [2][3]"]),  # as ALCE asks for them
        ("It is old.[1] It is red.", ["It is old. [1]", "It is red."]),
        ("[2] It is old. It is [1] red.", ["It is old. [2]", "It is red. [1]"]),
        ("磨坊很老。[1]它在河边。[2]", ["磨坊很老。 [1]", "它在河边。 [2]"]),
        ("[1][2]", []),
        ("", []),
    ],
)
def test_a_citation_belongs_to_the_sentence_before_it(answer, sentences):
    assert [" ".join(one.split()) for one in cited_sentences(answer)] == sentences


class Judge:
    def __init__(self):
        self.asked = []

    def entails(self, model):
        def judge(pairs):
            self.asked += pairs
            return [0.9 if by_facts(premise, hypothesis) else 0.1 for premise, hypothesis in pairs]

        return judge


def metric(answer, passages, **settings):
    made = CitationScores(CitationSettings(**settings))
    judge = Judge()
    made.open(judge)
    return made.score(Answered(Example("1", "q"), answer, passages)), judge


def test_the_metric_shows_titles_to_its_judge_and_says_so_where_it_has_none():
    model = {"kind": "cross_encoder", "source": {"path": {"path": "/models/judge"}}}
    passages = [Passage("1", "Towns", "Arl has a mill.", 1.0, 1)]
    found, judge = metric("Arl has a mill. [1]", passages, model=model)
    assert set(found) == {"citation_recall", "citation_precision"}
    assert judge.asked == [("Title: Towns\nArl has a mill.", "Arl has a mill.")]
    found, _ = metric("Arl has a mill [1].", passages)
    assert found == {"lexical_citation_recall": 1.0, "lexical_citation_precision": 1.0}
    assert metric("Arl has a mill [1].", [])[0] == {"lexical_citation_recall": 0.0, "lexical_citation_precision": 0.0}
    assert metric("", passages)[0] == {"lexical_citation_recall": None, "lexical_citation_precision": None}
