"""Trained monitors: what can be learned is, nothing leaks, files say what was fitted, wrong ones are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ragdecode.decoding.aggregators.trained import Trained, TrainedSettings
from ragdecode.decoding.faithfulness.features import FEATURES, LID, SentenceFeatures
from ragdecode.decoding.faithfulness.scoring_trees import FlatTrees
from ragdecode.errors import InputError, RunError
from ragdecode.evaluation.learning.trees import TreeSettings
from ragdecode.evaluation.metrics.detection import calibration_error, labelled_auroc
from ragdecode.evaluation.monitors import crossing, fitting
from ragdecode.evaluation.monitors.anchors import choose_anchors
from ragdecode.evaluation.monitors.crossing import cross_validate, splits
from ragdecode.evaluation.monitors.examples import COLUMNS, Examples
from ragdecode.evaluation.monitors.figures import answer_flags, answer_scores, figures
from ragdecode.evaluation.monitors.fitting import FitSettings, fit_monitor, table_of
from ragdecode.evaluation.monitors.saving import save, to_yaml
from ragdecode.evaluation.monitors.study import difference
from ragdecode.spec.load import load_document


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "_DEPTHS", (2,))
    monkeypatch.setattr(fitting, "_TREES", (TreeSettings(8, 2), TreeSettings(24, 2)))


NO_LID = tuple(name for name in FEATURES if name not in LID)


def examples(n: int = 600, sources: int = 30, seed: int = 0, states: bool = True) -> Examples:
    """Faithful sentences with a high alignment; the other features are noise, the last sources' answers of two."""
    rng = np.random.default_rng(seed)
    faithful = rng.random(n) < 0.85
    table = rng.normal(size=(n, len(COLUMNS)))
    table[:, COLUMNS.index("alignment")] = rng.normal(np.where(faithful, 1.5, 0.0), 1.0)
    groups = np.sort(rng.integers(0, sources, n))
    answers = np.arange(n) // 4
    unfaithful = np.array([not faithful[answers == one].all() for one in range(answers.max() + 1)])
    return Examples(
        table,
        rng.normal(size=(n, 3, 6)).astype(np.float16) if states else None,
        rng.normal(size=n),
        faithful,
        np.ones(n, bool),
        groups,
        answers,
        unfaithful,
        groups[::4][: len(unfaithful)],
    )


@pytest.mark.parametrize("kind", ["logistic", "trees"])
def test_a_known_separation_is_found_on_sources_not_seen_and_its_probabilities_hold(kind):
    data = examples(1200)
    unseen = cross_validate(data, FitSettings(kind, NO_LID))
    ceiling = labelled_auroc(data.features[:, COLUMNS.index("alignment")].tolist(), data.faithful.tolist())
    found = labelled_auroc(unseen.probabilities.tolist(), data.faithful.tolist())
    assert ceiling - 0.05 < found < ceiling + 0.02
    assert calibration_error(unseen.probabilities.tolist(), data.faithful.tolist()) < 0.05
    flagged = figures(unseen.probabilities, data.faithful, data.groups, flagged=unseen.flagged).balanced
    assert flagged.value > 0.7
    assert flagged.low < flagged.value < flagged.high


def test_no_source_is_on_both_sides_of_any_fit(monkeypatch):
    data = examples()
    seen = []

    def spy(chosen, settings):
        seen.append(set(chosen.groups.tolist()))
        return original(chosen, settings)

    original = crossing.fit_monitor
    monkeypatch.setattr(crossing, "fit_monitor", spy)
    cross_validate(data, FitSettings("logistic", ("alignment",)), count=4)
    held = [set(data.groups[part].tolist()) for part in splits(data.groups, 4, 100)]
    assert len(seen) == 4
    assert all(not one & other for one, other in zip(seen, held, strict=True))
    assert set.union(*held) == set(data.groups.tolist())
    assert sum(map(len, held)) == len(set(data.groups.tolist()))


def test_inside_of_a_fit_no_source_is_on_both_sides_either(monkeypatch):
    data = examples()
    pairs = []
    original = fitting._Split.__init__

    def spy(self, whole, part, settings):
        pairs.append((set(whole.groups[~part].tolist()), set(whole.groups[part].tolist())))
        original(self, whole, part, settings)

    monkeypatch.setattr(fitting._Split, "__init__", spy)
    fit_monitor(data, FitSettings("logistic", ("alignment", *LID)))
    assert len(pairs) == 5
    assert all(not one & other for one, other in pairs)


def test_a_sentence_never_meets_anchors_of_its_own_source():
    data = examples(200, sources=4)
    anchors = choose_anchors(data, 150)
    alike = replace(anchors, states=np.where((anchors.groups == 0)[:, None, None], np.float16(0), anchors.states))
    mine = data.groups == 0
    same = anchors.dimensions(data.states[mine], data.groups[mine])
    assert (same == alike.dimensions(data.states[mine], data.groups[mine])).all()
    assert data.faithful[np.isin(data.states[:, 0, 0], anchors.states[:, 0, 0])].all()
    few = choose_anchors(data.of(data.groups == 1), 150)
    assert few is None or np.isnan(few.dimensions(data.states[data.groups == 1], data.groups[data.groups == 1])).all()


@pytest.fixture
def backend():
    return SimpleNamespace(fingerprint="f" * 16, hidden_size=6, interventions=frozenset({"exit"}), blocks=30)


def written(tmp_path: Path, fitted) -> Path:
    saved = save(fitted, model="f" * 16, prompt="grounded", aligner="lexical_support", description="d", data=(),
                 figures={"auroc": 0.8}, arrays_file="mine.safetensors")  # fmt: skip
    if saved.arrays is not None:
        (tmp_path / "mine.safetensors").write_bytes(saved.arrays)
    (tmp_path / "mine.yaml").write_text(to_yaml(saved.spec))
    return tmp_path / "mine.yaml"


def opened(file: Path, backend) -> Trained:
    aggregator = Trained(TrainedSettings(monitor=load_document("monitors", str(file)).spec))
    aggregator.meet(backend)
    return aggregator


@pytest.mark.parametrize("kind", ["logistic", "trees"])
@pytest.mark.parametrize("curve", ["platt", "isotonic"])
@pytest.mark.parametrize("names", [NO_LID, FEATURES], ids=["plain", "lid"])
def test_a_file_scores_as_what_was_fitted(tmp_path, backend, kind, curve, names):
    data = examples(300)
    table = data.features.copy()
    table[np.random.default_rng(5).random(300) < 0.2, COLUMNS.index("mean_kl")] = np.nan
    table[0, COLUMNS.index("mean_prob")] = np.nan  # seen once: nothing is learned of its absence
    data = replace(data, features=table)
    fitted = fit_monitor(data, FitSettings(kind, names, curve))
    aggregator = opened(written(tmp_path, fitted), backend)
    assert set(aggregator.anchors) == set(LID) & set(names)
    raw = table_of(data, names, fitted.anchors)
    expected = fitted.probabilities(data)
    for place in range(0, 300, 7):
        known: dict[str, float | None] = dict.fromkeys(FEATURES)
        known |= {
            name: None if np.isnan(value) else value for name, value in zip(names, raw[place].tolist(), strict=True)
        }
        score = aggregator.score(SentenceFeatures(known))
        if np.isnan(expected[place]):
            assert score is None
        else:
            assert score == pytest.approx(expected[place], abs=1e-9)
    assert np.isnan(expected[0])
    assert np.isfinite(expected[1:]).all()
    assert 0 <= aggregator.threshold <= 1
    assert aggregator.aligner == "lexical_support"


def test_what_was_made_for_another_model_or_is_damaged_is_refused(tmp_path, backend):
    file = written(tmp_path, fit_monitor(examples(300), FitSettings("trees", FEATURES)))
    for other in (SimpleNamespace(**{**vars(backend), "fingerprint": "0" * 16}),
                  SimpleNamespace(**{**vars(backend), "fingerprint": ""})):  # fmt: skip
        with pytest.raises(InputError, match="made for another model"):
            opened(file, other)
    with pytest.raises(InputError, match="which this backend does not tell"):
        opened(file, SimpleNamespace(**{**vars(backend), "interventions": frozenset()}))
    with pytest.raises(InputError, match="the model's states have 7 numbers"):
        opened(file, SimpleNamespace(**{**vars(backend), "hidden_size": 7}))
    arrays = tmp_path / "mine.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:-8])
    with pytest.raises(InputError, match="its hash differs"):
        opened(file, backend)
    file.write_text("".join(line for line in file.read_text().splitlines(True) if not line.startswith("sha256")))
    with pytest.raises(InputError, match="is no safetensors file"):
        opened(file, backend)
    arrays.unlink()
    with pytest.raises(InputError, match=r"mine.safetensors"):
        load_document("monitors", str(file))


def test_trees_that_could_not_be_walked_are_refused():
    with pytest.raises(ValueError, match="does not follow it"):
        FlatTrees([0], [0], [0.0], [False], [0], [0], [0.0])
    with pytest.raises(ValueError, match="differ in length"):
        FlatTrees([0], [-1, -1], [0.0], [False], [0], [0], [0.0])


def test_a_monitor_stands_by_its_name_alone_in_yaml(tmp_path, monkeypatch):
    (tmp_path / "configs/monitors").mkdir(parents=True)
    written(tmp_path / "configs/monitors", fit_monitor(examples(300), FitSettings("logistic", ("alignment",))))
    monkeypatch.chdir(tmp_path)
    part = {"syncheck": {"aggregator": {"trained": "mine"}}}
    (tmp_path / "one.yaml").write_text(json.dumps({"monitor": [part]}))
    built = load_document("decoding", str(tmp_path / "one.yaml")).spec.monitor[0].build()
    assert built.aggregator.features == ("alignment",)
    assert built.threshold == built.aggregator.threshold


def test_too_little_teaches_nothing_and_says_so():
    with pytest.raises(RunError, match="teach nothing; 20 of each and 10 sources are the least"):
        fit_monitor(examples(60), FitSettings("logistic", NO_LID))
    with pytest.raises(RunError, match="no sentence has a value of lid_15, lid_16, lid_17"):
        fit_monitor(examples(600, states=False), FitSettings("logistic", FEATURES))


def test_an_answer_is_as_good_as_its_worst_sentence():
    data = replace(examples(8), answers=np.array([0, 0, 0, 1, 1, 2, 2, 2]), unfaithful=np.array([True, False, False]))
    scores = np.array([0.9, 0.2, np.nan, np.nan, np.nan, 0.5, 0.4, 0.8])
    assert answer_scores(data, scores).tolist()[::2] == [0.2, 0.4]
    assert np.isnan(answer_scores(data, scores)[1])
    assert answer_flags(data, scores < 0.3).tolist() == [True, False, False]


def test_figures_are_those_of_counting_pairs_and_intervals_are_over_sources():
    rng = np.random.default_rng(4)
    faithful, groups = rng.random(150) < 0.7, rng.integers(0, 12, 150)
    scores = np.round(rng.normal(faithful * 1.0), 1)
    found = figures(scores, faithful, groups, probabilities=False)
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[faithful] for b in scores[~faithful]]
    assert found.auroc.value == pytest.approx(np.mean(pairs))
    order = sorted(set(scores.tolist()))
    hits = [((scores <= at) & ~faithful).sum() for at in order]
    taken = [(scores <= at).sum() for at in order]
    gains = np.diff([0, *hits]) / (~faithful).sum()
    assert found.auprc.value == pytest.approx(sum(g * h / t for g, h, t in zip(gains, hits, taken, strict=True)))
    assert (found.base_rate, found.sources, found.ece.value) == ((~faithful).mean(), 12, None)
    alone = figures(scores, faithful, np.zeros(150, int), probabilities=False)
    assert alone.auroc.low == alone.auroc.high  # one source: nothing to resample
    nothing = figures(np.array([np.nan, 1.0]), np.array([True, True]), np.array([0, 1]))
    assert (nothing.auroc.value, nothing.unscored, nothing.base_rate) == (None, 1, 0.0)
    assert json.loads(json.dumps(nothing.to_json(), allow_nan=False))["auroc"] == {
        "value": None,
        "low": None,
        "high": None,
    }


def test_a_score_is_no_better_than_itself():
    data = examples(200)
    own = data.features[:, COLUMNS.index("alignment")]
    assert difference(data, own, own).value == 0
    gap = difference(data, own, data.features[:, 0])
    assert 0 < gap.low < gap.value < gap.high
