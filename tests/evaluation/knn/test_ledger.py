"""The ledger against sums in plain Python, and the two identities of kNN-LM's loss."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ragdecode.evaluation.knn.ledger import examples, ledger, token_class
from ragdecode.evaluation.knn.resampling import mean, stretches
from ragdecode.evaluation.knn.votes import TokenVotes


def made(tokens: int = 400, seed: int = 0, weight: float | None = 0.25) -> TokenVotes:
    draw = np.random.default_rng(seed)
    votes = np.where(draw.random(tokens) < 0.4, 0.0, draw.random(tokens))
    weights = draw.uniform(0.01, 0.95, tokens) if weight is None else np.full(tokens, weight)
    zeros = np.zeros(tokens)
    return TokenVotes(
        gold=draw.integers(0, 30, tokens), text=np.repeat(np.arange(4), tokens // 4),
        place=np.tile(np.arange(tokens // 4), 4), lm=np.log(draw.uniform(1e-6, 1.0, tokens)), lm_entropy=zeros,
        votes=votes, entropy=zeros, spread=zeros, nearest=draw.exponential(10, tokens), sources=zeros, weight=weights,
    )  # fmt: skip


@pytest.mark.parametrize("weight", [0.25, 0.9, None])
def test_a_token_wins_exactly_if_the_votes_are_above_the_model_and_loses_no_more_than_the_weight_lets(weight):
    votes = made(weight=weight)
    assert ((votes.gain > 0) == (votes.votes > np.exp(votes.lm))).all()
    assert (votes.gain >= np.log1p(-votes.weight) - 1e-12).all()
    for row in range(len(votes)):
        share = votes.weight[row]
        expected = math.log((1 - share) * math.exp(votes.lm[row]) + share * votes.votes[row])
        assert votes.mixed[row] == pytest.approx(expected, abs=1e-12)


def test_no_weight_leaves_every_token_as_it_is_to_the_last_bit():
    votes = made(weight=0.0)
    assert (votes.mixed == votes.lm).all()
    told = ledger(votes, ["word"] * len(votes), votes.gold)
    assert (told["helped"]["estimate"], told["hurt"]["estimate"], told["mean_helped"]) == (0.0, 0.0, None)
    assert [row["of_gain"] for row in told["top"]] == [None] * 3


def test_the_ledger_is_what_counting_gives():
    votes = made()
    names = ["word" if token % 2 else "number" for token in votes.gold]
    told = ledger(votes, names, votes.gold)
    gain = votes.gain.tolist()
    assert told["helped"]["estimate"] == pytest.approx(sum(one > 0 for one in gain) / len(gain))
    assert told["helped"]["low"] < told["helped"]["estimate"] < told["helped"]["high"]
    assert told["mean_hurt"] == pytest.approx(sum(one for one in gain if one < 0) / sum(one < 0 for one in gain))
    best = sorted(gain, reverse=True)
    for row in told["top"]:
        count = round(row["share"] * len(gain))
        assert row["tokens"] == count
        assert row["of_gain"] == pytest.approx(sum(best[:count]) / sum(gain))
        assert row["rest"]["estimate"] == pytest.approx(sum(best[count:]) / (len(gain) - count))
    for rows in told["groups"].values():
        assert sum(row["tokens"] for row in rows) == len(gain)
        assert sum(row["total"] for row in rows) == pytest.approx(sum(gain))
    own = [one for one, name in zip(gain, names, strict=True) if name == "number"]
    [row] = [row for row in told["groups"]["class"] if row["name"] == "number"]
    assert row["gain"]["estimate"] == pytest.approx(sum(own) / len(own))
    sizes = [row["tokens"] for row in told["groups"]["distance"]]
    assert max(sizes) - min(sizes) <= 1
    [never] = [row for row in told["groups"]["frequency"] if row["name"] == "never"]
    assert never["tokens"] == sum(token == 0 for token in votes.gold)


def test_the_oracle_takes_the_best_of_each_token():
    votes = made()
    for row in range(len(votes)):
        other = math.log(votes.votes[row]) if votes.votes[row] else -math.inf
        assert votes.best[row] == pytest.approx(max(votes.lm[row], votes.mixed[row], other), abs=1e-12)


def test_stretches_end_with_their_text_and_intervals_are_those_of_stretches():
    numbers = stretches(np.array([0] * 130 + [1] * 3), np.array([*range(130), 0, 1, 2]))
    assert np.bincount(numbers).tolist() == [64, 64, 2, 3]
    alike = mean(np.repeat([0.0, 1.0], 640), np.repeat([0, 1], 640))
    assert (alike["estimate"], alike["low"], alike["high"]) == (0.5, 0.0, 1.0)  # two draws, not 1280
    assert mean(np.array([]), np.array([], int)) == {"estimate": None, "low": None, "high": None}
    assert mean(np.array([2.0]), np.array([0]))["low"] is None


def test_examples_are_the_largest_of_different_stretches():
    votes = made()
    found = examples(votes, 3)
    assert votes.gain[found["helped"][0]] == votes.gain.max()
    assert votes.gain[found["hurt"][0]] == votes.gain.min()
    groups = stretches(votes.text, votes.place)
    assert len({int(groups[row]) for row in found["helped"]}) == len(found["helped"])


@pytest.mark.parametrize(
    ("text", "name"),
    [(" the", "word"), (" The", "capitalised word"), ("ing", "rest of a word"), (" 19", "number"), (",", "punctuation"),
     ("\n", "blank"), (" @-@", "punctuation")],
)  # fmt: skip
def test_classes_of_tokens(text, name):
    assert token_class(text) == name
