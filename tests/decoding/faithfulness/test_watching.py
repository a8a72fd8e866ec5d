"""The monitor's book-keeping and its features, without a model."""

from __future__ import annotations

import math
import random

import pytest
import torch

from ragdecode.decoding.divergence import entropy, kl
from ragdecode.decoding.faithfulness.dimension import local_dimension
from ragdecode.decoding.faithfulness.features import (
    FEATURES,
    LID,
    TokenSignals,
    middle_blocks,
    sentence_features,
)
from ragdecode.decoding.faithfulness.watching import Watch
from ragdecode.decoding.monitor import Accepted, Flag
from ragdecode.decoding.monitors.syncheck import SynCheck, SynCheckSettings
from ragdecode.decoding.request import View
from ragdecode.decoding.textstream import TextStream
from ragdecode.errors import InputError
from tests.decoding.engines import backend, request
from tests.decoding.faithfulness.test_syncheck import Anchored
from tests.decoding.faithfulness.worlds import EVIDENCE, PIECES, text_of

WORDS = {"align": {"lexical": {"encoder": None}}}


def monitor(aggregator=None, **settings) -> SynCheck:
    made = SynCheck(SynCheckSettings(**WORDS, **settings))
    if aggregator is not None:
        made.aggregator = aggregator
    return made


def session(made: SynCheck, evidence=EVIDENCE) -> Watch:
    return made.start(request("q", {"with_context": [1]}, detokenize=text_of, passages=evidence))


TOWER, THE = (PIECES.index(piece) for piece in (b" tower", b" The"))


#: Tokens at which a sentence ends, if it does, whatever comes behind: an item of a list ends the line before it.
PLAIN = [token for token, piece in enumerate(PIECES) if piece and b"\n" not in piece and b"-" not in piece]


class Writing:
    """Shows tokens to a session as the engine does; what is told of a token depends on its place and id alone."""

    def __init__(self, watch: Watch, *, states: bool = False) -> None:
        self.watch, self.states, self.stream, self.tokens = watch, states, TextStream(text_of), []

    def _measured(self):
        chance = random.Random(len(self.tokens)).random
        measured = {"entropy": 3 * chance(), "kl": 5 * chance()}
        return measured | ({name: 9 * chance() for name in LID} if self.states else {})

    def push(self, token: int):
        measured = self._measured()
        self.tokens.append(token)
        self.stream.push(token)
        views = {"with_context": -random.Random(token).random()}
        return self.watch.observe(
            Accepted(len(self.tokens) - 1, token, self.stream.text, -1.0, views, measured=measured)
        )

    def rewind(self, length: int) -> None:
        del self.tokens[length:]
        self.stream.rewind(length)
        self.watch.rewind(length)

    def finish(self, *, ended: bool):
        if ended:
            self.watch.ending(self._measured())
        self.stream.flush()
        return self.watch.finish(self.stream.text)


@pytest.mark.parametrize("states", [False, True])
def test_after_rewinds_the_record_is_that_of_a_fresh_run(states):
    for seed in range(150):
        rng = random.Random(seed)
        made = monitor(Anchored()) if states else monitor()
        made.meet({"with_context": backend()})
        writing = Writing(session(made), states=states)
        for _ in range(rng.randrange(4)):
            for _ in range(rng.randrange(1, 25)):
                writing.push(rng.choice(PLAIN))
            starts = [one.tokens.start for one in writing.watch.verdicts]
            if rng.random() < 0.3:
                writing.finish(ended=False)
            writing.rewind(rng.choice([*starts, 0]))
            writing.push(THE)
            writing.push(TOWER)
        fresh = Writing(session(made), states=states)
        for token in list(writing.tokens):
            fresh.push(token)
        for token in [rng.choice(PLAIN) for _ in range(10)]:
            writing.push(token)
            fresh.push(token)
        ended = rng.random() < 0.5
        writing.finish(ended=ended)
        fresh.finish(ended=ended)
        assert writing.watch.record() == fresh.watch.record(), seed


def test_an_answer_that_goes_on_after_its_end_has_its_last_sentence_whole():
    writing = Writing(session(monitor()))
    stop, half, rest = (PIECES.index(piece) for piece in (b".", "д".encode().join([b" ", b""])[:2], b"!"))
    for token in (THE, TOWER, stop, THE, TOWER, half):
        writing.push(token)
    writing.finish(ended=False)
    assert [one.text for one in writing.watch.verdicts] == ["The tower.", "The tower \ufffd"]
    writing.rewind(6)
    assert [one.text for one in writing.watch.verdicts] == ["The tower."]
    writing.push(half + 1)
    writing.push(rest)
    writing.finish(ended=True)
    assert [one.text for one in writing.watch.verdicts] == ["The tower.", "The tower д!"]


def test_every_verdict_is_told_once_and_again_after_a_rewind():
    writing = Writing(session(monitor()))
    tokens = [3, 45, 45, 3, 9, 45, 10, 11, 45, 3, 3]
    told = []
    for token in tokens:
        writing.push(token)
        told += writing.watch.told()
    writing.finish(ended=True)
    told += writing.watch.told()
    assert told == writing.watch.record()["sentences"]
    assert writing.watch.told() == []
    writing.rewind(0)
    assert writing.watch.record()["sentences"] == []


def test_two_sentences_that_end_at_once_are_both_flagged():
    watch = session(monitor(threshold=1.0))
    writing = Writing(watch)
    for token in (3, 45, 46, 5):  # words, two ends, a word: all open
        writing.push(token)
    action = writing.finish(ended=True)
    flagged = [one for one in watch.record()["sentences"] if one["faithful"] is False]
    assert isinstance(action, Flag)
    assert [action.detail, *action.more] == [
        {"sentence": one["index"], "text": one["text"], "start": one["start"], "end": one["end"]}
        | {"faithfulness": one["faithfulness"]}
        for one in flagged[-1 - len(action.more) :]
    ]


def test_new_evidence_counts_from_the_next_sentence_on():
    watch = session(monitor(), evidence=[])
    writing = Writing(watch)
    for token in (3, 46, 4, 5):
        writing.push(token)
    watch.retrieved({"with_context": View([1], passages=[("new", "tower Paris cat.")])})
    writing.finish(ended=True)
    first, second = watch.record()["sentences"]
    assert first["unscored"] == "no evidence"
    assert second["supported_by"] == ["new"]


def test_features_are_none_where_they_have_no_value():
    empty = sentence_features([])
    assert empty["n_tokens"] == 0
    assert set(empty.missing) == set(FEATURES) - {"n_tokens"}
    odd = sentence_features([TokenSignals(0.5, math.nan, math.inf)], alignment=math.nan)
    assert odd["mean_prob"] == 0.5
    assert {"max_entropy", "mean_entropy", "mean_kl", "alignment", *LID} <= set(odd.missing)
    half = sentence_features([TokenSignals(0.5, 1.0, 4.0), TokenSignals(0.5, 1.0, None)])
    assert half["mean_kl"] is None
    assert half["large_kl_count"] is None
    assert sentence_features([TokenSignals(0.5, 1.0, 3.0), TokenSignals(0.5, 1.0, 3.1)])["large_kl_count"] == 1


def test_middle_blocks_are_those_of_the_paper_and_never_out_of_the_model():
    assert middle_blocks(32) == (14, 15, 16)
    assert middle_blocks(30) == (13, 14, 15)
    for blocks in range(1, 100):
        assert all(0 <= block < blocks for block in middle_blocks(blocks))


@pytest.mark.parametrize("dimension", [2, 5, 10])
def test_the_local_dimension_is_about_that_of_the_subspace(dimension):
    torch.manual_seed(dimension)
    plane = torch.linalg.qr(torch.randn(64, dimension, dtype=torch.float64)).Q
    directions = torch.nn.functional.normalize(torch.randn(4000, dimension, dtype=torch.float64), dim=-1)
    ball = directions * torch.rand(4000, 1, dtype=torch.float64) ** (1 / dimension) @ plane.T
    middle = torch.zeros(1, 64, dtype=torch.float64)
    assert float(local_dimension(middle, ball)) == pytest.approx(dimension, rel=0.05)


def test_the_local_dimension_is_finite_where_anchors_lie_on_one_another():
    same = torch.ones(40, 8)
    assert local_dimension(torch.zeros(2, 8), same).tolist() == [8.0, 8.0]
    assert local_dimension(torch.ones(1, 8), same).isfinite().all()


def test_divergence_and_entropy_are_finite_for_impossible_tokens():
    one = torch.tensor([[0.0, -torch.inf, -torch.inf]])
    other = torch.log_softmax(torch.tensor([[1.0, 2.0, -torch.inf]]), dim=-1)
    assert entropy(one).item() == 0
    assert kl(one, other).item() == pytest.approx(-other[0, 0].item())
    assert math.isfinite(kl(other, one).item())


def test_few_anchors_are_no_feature():
    class Few(Anchored):
        def __init__(self):
            super().__init__()
            self.anchors = {name: bank[:29] for name, bank in self.anchors.items()}

    made = monitor(Few())
    made.meet({"with_context": backend()})
    assert made.layers == ()


def test_an_aggregator_trained_with_another_alignment_is_refused():
    class Foreign(Anchored):
        aligner = "entailment"

        def __init__(self, settings):
            super().__init__()

    settings = SynCheckSettings(**WORDS)
    object.__setattr__(settings.aggregator, "build", lambda: Foreign(None))
    with pytest.raises(InputError, match="was trained with the alignment 'entailment'"):
        SynCheck(settings)


def test_without_text_there_are_no_sentences():
    with pytest.raises(InputError, match="cannot turn tokens into text"):
        monitor().start(request("q", {"with_context": [1]}))


def test_an_aggregator_that_says_no_number_scores_nothing():
    class Broken(Anchored):
        def score(self, features):
            return math.nan

    writing = Writing(session(monitor(Broken())))
    writing.push(3)
    writing.finish(ended=True)
    (one,) = writing.watch.record()["sentences"]
    assert one["faithfulness"] is None
    assert one["unscored"]
