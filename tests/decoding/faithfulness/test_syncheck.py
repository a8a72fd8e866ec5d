"""The monitor against a naive reference that reads the finished answer again, twice."""

from __future__ import annotations

import pytest
import torch

from ragdecode.decoding.events import DoneEvent, TokenEvent, VerdictEvent
from ragdecode.decoding.faithfulness.aggregator import Aggregator
from ragdecode.decoding.faithfulness.features import LID
from ragdecode.decoding.monitors.syncheck import SynCheck, SynCheckSettings
from ragdecode.decoding.request import Sampling
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.spec.settings import NoSettings
from ragdecode.text.sentences import sentence_spans
from tests.decoding.engines import TreeDrafter, decode
from tests.decoding.faithfulness.worlds import EVIDENCE, ask, deep, engine, text_of
from tests.reference.syncheck import features

SAMPLED = Sampling(temperature=1.3, seed=5)


class Anchored(Aggregator):
    """Scores by one feature; brings anchors."""

    part_name = "anchored"

    def __init__(self) -> None:
        super().__init__(NoSettings())
        torch.manual_seed(0)
        self.anchors = {name: torch.randn(40, 32, dtype=torch.float64) for name in LID}

    def score(self, features) -> float | None:
        return features["mean_prob"]


def monitor(anchored: bool = False, **settings) -> SynCheck:
    made = SynCheck(SynCheckSettings(align={"lexical": {"encoder": None}}, **settings))
    if anchored:
        made.aggregator = Anchored()
    return made


def check(result, request, anchors=None, without=True) -> int:
    """Compare every sentence of a record with the reference; how many there were."""
    record = result.monitors["syncheck"]["sentences"]
    assert [(one["start"], one["end"]) for one in record] == sentence_spans(result.text)
    for one in record:
        other = request.views["without_context"].prompt if without else None
        tokens = range(*one["tokens"])
        expected = features(deep(), request.views["with_context"].prompt, other, result.tokens, tokens, anchors)
        found = one["features"]
        for name, value in expected.items():
            assert found[name] == (None if value is None else pytest.approx(value, abs=1e-8)), name
    return len(record)


@pytest.mark.parametrize("rule", [(), (Cad(CadSettings(alpha=0.7)),)], ids=["plain", "cad"])
@pytest.mark.parametrize("seed", [1, 2, 5])
def test_features_are_those_of_two_passes_over_the_finished_answer(seed, rule):
    asked = ask("q", seed, monitor(anchored=True), rules=rule, sampling=SAMPLED)
    result = decode(engine(), asked)["q"]
    anchors = asked.monitors[0].aggregator.anchors
    if result.finish_reason == "length":  # the last token was never read: its state is not known
        last = result.monitors["syncheck"]["sentences"][-1]
        if last["tokens"][1] == len(result.tokens):
            assert all(last["features"][name] is None for name in LID)
            result.monitors["syncheck"]["sentences"].pop()
            result = type(result)(**{**vars(result), "text": result.text[: last["start"]]})
    assert check(result, asked, anchors) > 1


def test_the_last_sentence_has_all_features_where_the_answer_ends_by_itself():
    for seed in range(30):
        asked = ask("q", seed, monitor(anchored=True), sampling=SAMPLED)
        result = decode(engine(), asked)["q"]
        if result.finish_reason == "stop" and result.monitors["syncheck"]["sentences"]:
            check(result, asked, asked.monitors[0].aggregator.anchors)
            return
    pytest.fail("no answer ended by itself")


@pytest.mark.parametrize("temperature", [0.0, 1.3])
def test_the_record_is_the_same_drafted_alone_and_in_a_batch(temperature):
    sampling = Sampling(temperature=temperature, seed=5)
    alone = {}
    for seed in (1, 2, 3):
        asked = ask(f"q{seed}", seed, monitor(anchored=True), sampling=sampling)
        alone |= decode(engine(), asked)
    together = decode(
        engine(prefill_tokens=6),
        *[ask(f"q{seed}", seed, monitor(anchored=True), sampling=sampling) for seed in (1, 2, 3)],
    )
    for name, result in alone.items():
        seed = int(name[1:])
        drafter = TreeDrafter(result.tokens, seed)
        drafted = decode(
            engine(), ask(name, seed, monitor(anchored=True), sampling=sampling, drafters=(drafter,), max_draft_nodes=9)
        )[name]
        for other in (together[name], drafted):
            assert other.tokens == result.tokens
            same(other.monitors["syncheck"], result.monitors["syncheck"])
        assert drafted.stats.accepted


def same(one, other) -> None:
    if isinstance(other, dict):
        assert one.keys() == other.keys()
        for key in other:
            same(one[key], other[key])
    elif isinstance(other, list):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            same(left, right)
    else:
        assert one == (pytest.approx(other, abs=1e-9) if isinstance(other, float) else other)


def test_the_view_without_evidence_can_be_left_out():
    asked = ask("q", 1, monitor(without=None), sampling=SAMPLED)
    result = decode(engine(), asked)["q"]
    assert check(result, asked, without=False) > 1
    assert result.stats.forward_rows == result.stats.forward_passes  # one row alone
    assert result.monitors["syncheck"]["missing"]["mean_kl"] == len(result.monitors["syncheck"]["sentences"])


def test_equal_views_have_no_divergence():
    asked = ask("q", 1, monitor(), sampling=SAMPLED)
    asked.views["without_context"] = asked.views["with_context"]
    record = decode(engine(), asked)["q"].monitors["syncheck"]["sentences"]
    assert all(one["features"]["mean_kl"] == pytest.approx(0, abs=1e-12) for one in record)
    assert all(one["features"]["large_kl_count"] == 0 for one in record)


def test_it_adds_no_row_beside_cad():
    cad = (Cad(CadSettings(alpha=0.7)),)
    watched = decode(engine(), ask("q", 1, monitor(), rules=cad))["q"]
    alone = decode(engine(), ask("q", 1, rules=cad))["q"]
    assert watched.tokens == alone.tokens
    assert watched.stats.forward_rows == alone.stats.forward_rows
    assert watched.stats.forward_passes == alone.stats.forward_passes


def shown_at_verdicts(asked):
    """What was shown when each verdict was told, with the verdicts."""
    shown, told = "", []
    for event in engine().run([asked]):
        if isinstance(event, VerdictEvent):
            told.append((event.verdict, shown))
        elif isinstance(event, TokenEvent):
            shown += event.text
        elif isinstance(event, DoneEvent):
            assert shown == event.result.text
    return told


def test_with_hold_nothing_of_a_sentence_is_shown_before_its_verdict():
    held = shown_at_verdicts(ask("q", 1, monitor(hold="sentence"), sampling=SAMPLED))
    assert len(held) > 2
    for verdict, shown in held:
        assert len(shown) <= verdict["start"]
    free = shown_at_verdicts(ask("q", 1, monitor(), sampling=SAMPLED))
    assert [verdict for verdict, _ in free] == [verdict for verdict, _ in held]
    assert any(len(shown) > verdict["start"] for verdict, shown in free)


def test_stop_ends_before_the_unfaithful_sentence():
    asked = ask("q", 1, monitor(threshold=0.0), sampling=SAMPLED)
    sentences = decode(engine(), asked)["q"].monitors["syncheck"]["sentences"]
    scored = [one for one in sentences if one["faithfulness"] is not None]
    first = next(one for one in scored[1:] if one["faithfulness"] < scored[0]["faithfulness"])
    threshold = (first["faithfulness"] + scored[0]["faithfulness"]) / 2
    first = next(one for one in scored if one["faithfulness"] < threshold)
    assert first["index"] > 0
    stopped = decode(engine(), ask("q", 1, monitor(threshold=threshold, on_unfaithful="stop"), sampling=SAMPLED))["q"]
    assert stopped.finish_reason == "monitor"
    assert len(stopped.tokens) == first["tokens"][0]
    kept = stopped.monitors["syncheck"]["sentences"]
    assert kept[: first["index"]] == sentences[: first["index"]]
    # a token that spans the border stays whole: what it holds of the next sentence does too
    assert len(text_of(stopped.tokens)) <= first["start"] + 1


@pytest.mark.parametrize("evidence", [[], [("a", "")], [("a", " \n ")]], ids=["none", "empty", "blank"])
def test_without_evidence_nothing_is_scored_and_it_says_so(evidence):
    record = decode(engine(), ask("q", 1, monitor(), evidence=evidence))["q"].monitors["syncheck"]
    assert all(one["faithfulness"] is None and one["faithful"] is None for one in record["sentences"])
    assert record["unscored"] == {"no evidence": len(record["sentences"])}
    assert record["mean"] is None
    assert record["lowest"] is None


def test_an_empty_answer_has_an_empty_record():
    asked = ask("q", 1, monitor(), constraints=())
    asked = type(asked)(**{**vars(asked), "end_tokens": frozenset(range(97))})
    result = decode(engine(), asked)["q"]
    assert result.text == ""
    assert result.tokens == []
    assert result.monitors["syncheck"]["sentences"] == []
    assert result.monitors["syncheck"]["mean"] is None


def test_tokens_of_sentences_spell_them():
    asked = ask("q", 5, monitor(), sampling=SAMPLED, limit=80)
    result = decode(engine(), asked)["q"]
    spans = [range(*one["tokens"]) for one in result.monitors["syncheck"]["sentences"]]
    assert all(span for span in spans)
    for one, span in zip(result.monitors["syncheck"]["sentences"], spans, strict=True):
        assert one["text"] in text_of(result.tokens[max(0, span.start - 1) : span.stop + 1])
    assert EVIDENCE[0][0] in {name for one in result.monitors["syncheck"]["sentences"] for name in one["supported_by"]}
