"""What a model thinks of given answers: equal to two plain passes, equal to the monitor's own figures, kept on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from ragdecode.decoding.aggregators.trained import Trained, TrainedSettings
from ragdecode.decoding.constraint import Constraint, ConstraintSession
from ragdecode.decoding.faithfulness.dimension import local_dimension
from ragdecode.decoding.faithfulness.features import FEATURES, LID, middle_blocks
from ragdecode.evaluation.monitors import signals as signals_module
from ragdecode.evaluation.monitors.evaluating import scores_by
from ragdecode.evaluation.monitors.examples import COLUMNS, collect
from ragdecode.evaluation.monitors.journal import Journal
from ragdecode.evaluation.monitors.labelled import Labelled, Span, Tally
from ragdecode.evaluation.monitors.signals import read_answers
from ragdecode.evaluation.monitors.watching import Watcher, begins_of, tokens_of
from ragdecode.models.progress import silent
from ragdecode.pipeline.models import open_backend
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.pipeline.request import DecodeRequest
from ragdecode.spec.load import load_document
from ragdecode.spec.pipeline import EngineSpec
from ragdecode.spec.settings import NoSettings
from tests.decoding import engines
from tests.pipeline import tiny_app

ANSWER = "The bridge has 12 arches. It was built by Dr. Aven in 1890.\n\nNobody knows why! €uros, maybe"
PASSAGES = ("The bridge of Tollin has 12 arches.", "It was built in 1889 by Mr. Aven.")


def naive(prompt, answer):
    """Log-probabilities ``[m, V]`` and states after each block ``[m, blocks, H]``, by one pass of the stock model."""
    model = engines.model().double()
    with torch.no_grad():
        out = model(torch.tensor([[*prompt, *answer]]), output_hidden_states=True)
    log_probs = torch.log_softmax(out.logits[0, len(prompt) - 1 : -1, : engines.VOCAB].double(), -1)
    return log_probs, torch.stack(out.hidden_states[1:], dim=2)[0, len(prompt) :]


@pytest.mark.parametrize("piece", [3, 96])
def test_signals_are_those_of_two_plain_passes(monkeypatch, piece):
    monkeypatch.setattr(signals_module, "_ANSWER", piece)
    target, blind = engines.prompt(1, 30), engines.prompt(2, 11)
    answers = [engines.prompt(seed, length) for seed, length in ((3, 7), (4, 1), (5, 12))]
    backend = engines.backend()
    found = list(read_answers(backend, target, blind, answers, engines.VOCAB))
    for answer, item in zip(answers, found, strict=True):
        seen, states = naive(target, answer)
        unseen, _ = naive(blind, answer)
        chances = seen.exp()
        assert item.probability == pytest.approx(chances[range(len(answer)), answer].numpy(), abs=1e-6)
        assert item.entropy == pytest.approx(-(chances * seen).sum(-1).numpy(), abs=1e-5)
        assert item.kl == pytest.approx((chances * (seen - unseen)).sum(-1).numpy(), abs=1e-5)
        wanted = states[:, list(middle_blocks(backend.blocks))].numpy()
        assert item.states == pytest.approx(wanted, abs=2e-3 * np.abs(wanted).max())
    same = next(read_answers(backend, target, target, answers[:1], engines.VOCAB))
    assert same.kl == pytest.approx(np.zeros(7), abs=1e-9)


class Only(Constraint):
    """Allows one text."""

    part_name = "only"

    def __init__(self, tokens):
        super().__init__(NoSettings())
        self.tokens = tokens

    def start(self, request, vocab_size):
        return _Only(self.tokens, vocab_size)


class _Only(ConstraintSession):
    def __init__(self, tokens, size):
        self.tokens, self.size = tokens, size

    def start(self):
        return 0

    def advance(self, state, token):
        return state + 1

    def mask(self, state):
        forbidden = torch.ones(self.size, dtype=torch.bool)
        forbidden[self.tokens[min(state, len(self.tokens) - 1)]] = False
        return forbidden


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    root = tmp_path_factory.mktemp("watching")
    app = tiny_app.write_app(root / "app", tiny_app.write_model(root / "weights"))
    monitor = {"syncheck": {"align": {"lexical": {"encoder": None}}}}
    file = tiny_app.write_pipeline(app, "one", decode={"monitor": [monitor], "max_new_tokens": 120})
    with Pipeline.load(file) as opened:
        yield opened


def watcher(pipeline, journal, **changes):
    backend = open_backend(pipeline.model, EngineSpec(device="cpu", dtype="float64", linear="plain"))
    return Watcher(pipeline.model, backend, pipeline.loaded.spec.prompt, journal, **changes)


def labelled(**changes) -> Labelled:
    return replace(Labelled("a", "Who built it?", PASSAGES, ANSWER, True, (Span(26, 58),), place="f:1"), **changes)


def test_features_are_those_of_the_monitor_when_the_same_tokens_are_decoded(pipeline, tmp_path):
    ids = pipeline.tokenizer.encode(ANSWER, special=False)
    asked = DecodeRequest("a", question="Who built it?", passages=tuple(
        pipeline_passage(text, rank) for rank, text in enumerate(PASSAGES, start=1)))  # fmt: skip
    request = replace(pipeline.prepare(asked).request, constraints=(Only(ids),), max_new_tokens=len(ids))
    done = next(event.result for event in pipeline.run(request) if hasattr(event, "result"))
    assert done.text == ANSWER
    told = done.monitors["syncheck"]["sentences"]
    with Journal(tmp_path / "j.jsonl") as journal:
        watched = watcher(pipeline, journal).watch([labelled()], Tally())
    part = pipeline.loaded.spec.decode.monitor[0].build()
    found = collect([labelled()], watched, part.aligner, {}, Tally(), silent)
    assert [ANSWER[one["start"] : one["end"]] for one in told] == [
        ANSWER[start:end] for start, end in watched[0].sentences[:, :2].tolist()
    ]
    assert [one["tokens"] for one in told] == watched[0].sentences[:, 2:].tolist()
    for values, verdict in zip(found.features.tolist(), told, strict=True):
        wanted = [verdict["features"][name] for name in COLUMNS]
        assert values == pytest.approx(wanted, rel=1e-5, abs=1e-5)
    assert found.faithful.tolist() == [True, False, True, True]
    assert set(COLUMNS) | set(LID) == set(FEATURES)


def test_the_local_dimension_is_the_monitors_too(pipeline, tmp_path):
    """A trained monitor with anchors, decoding and reading the same answer: equal features, equal verdicts."""
    with Journal(tmp_path / "j.jsonl") as journal:
        watched = watcher(pipeline, journal).watch([labelled()], Tally())
    rng = np.random.default_rng(0)
    hidden = watched[0].states.shape[-1]
    arrays = {name: rng.normal(size=(40, hidden)).astype(np.float16) for name in LID}
    (tmp_path / "m.safetensors").write_bytes(save(arrays))
    features = [{"name": name, "mean": 1.0, "scale": 2.0, "coefficient": 0.5} for name in (*LID, "alignment")]
    spec = {"model": pipeline.model.heads_fingerprint, "kind": "logistic", "features": features, "intercept": 0.1,
            "calibration": {"slope": 1.0, "offset": 0.0}, "threshold": 0.5, "arrays": "m.safetensors"}  # fmt: skip
    (tmp_path / "m.yaml").write_text(json.dumps(spec))
    trained = Trained(TrainedSettings(monitor=load_document("monitors", str(tmp_path / "m.yaml")).spec))
    trained.meet(open_backend(pipeline.model, EngineSpec(device="cpu", dtype="float64", linear="plain")))
    part = pipeline.loaded.spec.decode.monitor[0].build()
    part.aggregator = trained
    ids = pipeline.tokenizer.encode(ANSWER, special=False)
    asked = DecodeRequest("a", question="Who built it?", passages=tuple(
        pipeline_passage(text, rank) for rank, text in enumerate(PASSAGES, start=1)))  # fmt: skip
    request = replace(pipeline.prepare(asked).request, constraints=(Only(ids),), monitors=(part,),
                      max_new_tokens=len(ids))  # fmt: skip
    part.meet({"with_context": open_backend(pipeline.model, EngineSpec(device="cpu", dtype="float64", linear="plain"))})
    done = next(event.result for event in pipeline.run(request) if hasattr(event, "result"))
    told = done.monitors["syncheck"]["sentences"]
    found = collect([labelled()], watched, part.aligner, {}, Tally(), silent)
    anchors = {name: torch.from_numpy(table.astype(np.float32)) for name, table in arrays.items()}
    for place, name in enumerate(LID):
        mine = local_dimension(torch.from_numpy(found.states[:, place].astype(np.float32)), anchors[name])
        assert [one["features"][name] for one in told[:-1]] == pytest.approx(mine.tolist()[:-1], rel=5e-3)
    wanted = scores_by(trained, found).tolist()
    assert [one["faithfulness"] for one in told[:-1]] == pytest.approx(wanted[:-1], abs=5e-3)
    # cut by its length, the answer ends with a token that was never fed: it has no state, and says so
    assert (told[-1]["faithfulness"], told[-1]["unscored"]) == (None, "features are missing")


def pipeline_passage(text: str, rank: int):
    from ragdecode.pipeline.passage import Passage

    return Passage.of(text, rank)


def test_what_was_read_is_not_read_again_also_after_a_run_that_was_killed(pipeline, tmp_path, monkeypatch):
    rows = [labelled(), labelled(id="b", response="It is red. It is not."), labelled(id="c", question="", group=1)]
    file = tmp_path / "journal.jsonl"
    with Journal(file) as journal:
        first = watcher(pipeline, journal).watch(rows, Tally())
    whole = file.read_bytes()
    cut = whole[: whole.rindex(b"\n", 0, -1) + 40]  # the last line is not whole
    file.write_bytes(cut)
    calls = []
    original = signals_module.read_answers
    monkeypatch.setattr(
        "ragdecode.evaluation.monitors.watching.read_answers",
        lambda *args: calls.append(len(args[3])) or original(*args),
    )
    with Journal(file) as journal:
        again = watcher(pipeline, journal).watch(rows, Tally())
        watcher(pipeline, journal).watch(rows, Tally())
    assert calls == [1]
    assert file.read_bytes() == whole
    for one, other in zip(first, again, strict=True):
        assert (one.states == other.states).all()
        assert (one.kl == other.kl).all()


def test_an_answer_that_does_not_fit_is_counted_and_evidence_that_does_not_is_cut(pipeline, tmp_path):
    tally = Tally()
    rows = [labelled(id="long", response="word " * 1200), labelled(passages=(*PASSAGES, "Much more. " * 400))]
    with Journal(tmp_path / "j.jsonl") as journal:
        watched = watcher(pipeline, journal).watch(rows, tally)
    assert watched[0] is None
    assert tally.counts == {"answers too long for the model's window, or changed by its tokenizer": 1}
    assert watched[1].shown == 3
    part = pipeline.loaded.spec.decode.monitor[0].build()
    assert len(collect(rows, watched, part.aligner, {}, tally, silent)) == 4


def test_sentences_without_a_word_are_counted(pipeline, tmp_path):
    tally, rows = Tally(), [labelled(response="?! ... It is red.", spans=())]
    with Journal(tmp_path / "j.jsonl") as journal:
        watched = watcher(pipeline, journal).watch(rows, tally)
    part = pipeline.loaded.spec.decode.monitor[0].build()
    found = collect(rows, watched, part.aligner, {}, tally, silent)
    assert len(found) + tally.counts.get("sentences without a word", 0) == len(watched[0].sentences)
    assert np.isfinite(found.features).all()


def test_tokens_belong_to_the_sentence_that_they_begin_in():
    text = "One. Two €"
    ends = [3, 4, 8, 9, 9, 10]  # the last character takes two tokens
    assert begins_of(text, ends) == [0, 3, 5, 8, 9, 9]
    assert tokens_of([0, 3, 5, 8, 9, 9], 0, 4) == (0, 2)
    assert tokens_of([0, 3, 5, 8, 9, 9], 5, 10) == (2, 6)
    assert tokens_of([0], 2, 4) == (0, 1)


def test_a_journal_that_cannot_be_written_is_said(tmp_path):
    from ragdecode.errors import InputError

    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        Journal(tmp_path / "file" / "j.jsonl")
    (tmp_path / "j.jsonl").write_text(json.dumps({"other": 1}) + "\n")
    with Journal(Path(tmp_path / "j.jsonl")) as journal:
        assert journal.find("x") is None
