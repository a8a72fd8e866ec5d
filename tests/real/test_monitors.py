"""The shipped monitor and the one without training find sentences that were corrupted on purpose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ragdecode.decoding.aggregators.trained import Trained, TrainedSettings
from ragdecode.decoding.aligners.lexical import Lexical, LexicalSettings
from ragdecode.evaluation.metrics.detection import auroc
from ragdecode.evaluation.monitors.evaluating import scores_by
from ragdecode.evaluation.monitors.judges import open_judges
from ragdecode.evaluation.monitors.labelled import Labelled, LabelledData, Tally
from ragdecode.evaluation.monitors.preparing import Bench
from ragdecode.models.catalogue import find_model
from ragdecode.models.causal import load_causal
from ragdecode.pipeline.models import open_backend
from ragdecode.spec.load import load_document
from ragdecode.spec.pipeline import EngineSpec

pytestmark = pytest.mark.real

#: A passage, a sentence that it supports, and five that it does not.
CASES = (
    (
        "The bridge of Tollin was opened in 1889. It has twelve stone arches and crosses the river Mar. The engineer "
        "Aven designed it.",
        "The bridge of Tollin was opened in 1889 and crosses the river Mar.",
        {
            "entity": "The bridge of Morvan was opened in 1889 and crosses the river Lune.",
            "number": "The bridge of Tollin was opened in 1947 and crosses the river Mar.",
            "negation": "The bridge of Tollin was not opened in 1889 and does not cross the river Mar.",
            "other": "Photosynthesis turns light into chemical energy in the leaves of plants.",
            "clause": "The bridge of Tollin was opened in 1889 by the queen, who gave a long speech about steel trade.",
        },
    ),
    (
        "Caffeine blocks receptors of adenosine in the brain. A cup of coffee holds about 95 milligrams. Its effect "
        "lasts four to six hours.",
        "A cup of coffee holds about 95 milligrams of caffeine, and its effect lasts four to six hours.",
        {
            "entity": "A cup of tea holds about 95 milligrams of nicotine, and its effect lasts four to six hours.",
            "number": "A cup of coffee holds about 310 milligrams of caffeine, and its effect lasts nine to ten hours.",
            "negation": "A cup of coffee does not hold 95 milligrams of caffeine, and its effect never lasts so long.",
            "other": "The treaty was signed in Vienna after two years of war between the kingdoms.",
            "clause": "A cup of coffee holds about 95 milligrams of caffeine, which doctors in Norway prescribe to "
            "children.",
        },
    ),
    (
        "The museum opens at nine on weekdays. Tickets cost 12 euros, and children under six pay nothing. It is closed "
        "on Mondays in winter.",
        "Tickets cost 12 euros, and children under six pay nothing.",
        {
            "entity": "Posters cost 12 euros, and soldiers under six pay nothing.",
            "number": "Tickets cost 45 euros, and children under fifteen pay nothing.",
            "negation": "Tickets do not cost 12 euros, and children under six never pay nothing.",
            "other": "The striker scored twice in the second half and left the club in June.",
            "clause": "Tickets cost 12 euros, and children under six get a free balloon and a guided tour by night.",
        },
    ),
    (
        "Granite is an igneous rock. It forms when magma cools slowly below the ground, and holds quartz, feldspar and "
        "mica. Its density is about 2.7 grams per cubic centimetre.",
        "Granite forms when magma cools slowly below the ground.",
        {
            "entity": "Marble forms when lava cools slowly below the ocean.",
            "number": "Granite has a density of about 9.4 grams per cubic centimetre.",
            "negation": "Granite does not form when magma cools slowly below the ground.",
            "other": "The novel tells of a sailor who returns to his village after thirty years.",
            "clause": "Granite forms when magma cools slowly, and merchants of Venice sold it to Persian kings.",
        },
    ),
)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory):
    """Scores of the shipped monitor by kind of sentence; the supported ones are ``right``."""
    model = load_causal(find_model("smollm2-135m"))
    backend = open_backend(model, EngineSpec())
    aligner = Lexical(LexicalSettings())
    trained = Trained(TrainedSettings(monitor=load_document("monitors", "smollm2-135m").spec))
    trained.meet(backend)
    assert trained.aligner == aligner.label
    rows = [
        Labelled(f"{place}-{kind}", "What do you know about it?", (passage,), sentence, kind != "right", group=place)
        for place, (passage, right, wrong) in enumerate(CASES)
        for kind, sentence in {"right": right, **wrong}.items()
    ]
    journal: Path = tmp_path_factory.mktemp("monitor") / "j.jsonl"
    bench = Bench(
        model, backend, load_document("prompts", "grounded").spec, aligner, open_judges(aligner.models), journal
    )
    examples = bench.examples(LabelledData("made", tuple(rows), Tally()))
    assert len(examples) == len(rows)
    kinds = np.array([row.id.partition("-")[2] for row in rows])
    found = scores_by(trained, examples)
    assert np.isfinite(found).all()
    return {
        kind: found[kinds == kind].tolist() for kind in ("right", "entity", "number", "negation", "other", "clause")
    }


@pytest.mark.parametrize(("kind", "least"), [("entity", 0.7), ("number", 0.7), ("other", 0.95), ("clause", 0.7)])
def test_corrupted_sentences_score_below_right_ones(scored, kind, least):
    assert auroc(scored["right"], scored[kind]) >= least


def test_a_negation_is_scored_too_though_words_do_not_show_it(scored):
    assert 0 <= auroc(scored["right"], scored["negation"]) <= 1
    assert len(scored["negation"]) == len(CASES)
