from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from ragdecode.errors import RunError
from ragdecode.indexing.hit import Hit
from ragdecode.retrieval.generation import Generation
from ragdecode.retrieval.query import Query
from ragdecode.spec.model import ModelSpec
from tests.retrieval.chains import stages
from tests.retrieval.passages import hit, refine, texts

NLI = {"kind": "cross_encoder", "source": {"path": {"path": "/models/nli"}}}
BUILT = "The bridge was built in 1889."
SALT = "The sea is salty."
FLAG = "The flag is red."
MANY = [hit(SALT, 3.0), hit(BUILT, 2.0), hit(FLAG, 1.0)]


class Model:
    """Answers by a table, with evidence and without; an entailment model and a likelihood that look for the answer."""

    def __init__(self, answers: dict[str, str], closed_book: dict[str, str] | None = None) -> None:
        self.answers, self.closed_book = answers, closed_book or {}
        self.asked: list[list[Generation]] = []
        self.judged: list[list[tuple[str, str]]] = []
        self.scored: list[list[tuple[str, str]]] = []

    def generate(self, asked: Sequence[Generation]) -> list[str]:
        self.asked.append(list(asked))
        return [self._answer(one.messages[-1][1]) for one in asked]

    def _answer(self, prompt: str) -> str:
        question = prompt.rpartition("Question: ")[2]
        return self.answers.get(question, "") if "Passage: " in prompt else self.closed_book.get(question, "unknown")

    def entailment(self, model: ModelSpec) -> Any:
        assert model.kind == "cross_encoder"

        def judge(pairs: Sequence[tuple[str, str]]) -> list[float]:
            self.judged.append(list(pairs))
            return [0.9 if said.rpartition("The answer is: ")[2] in premise else 0.1 for premise, said in pairs]

        return judge

    def likelihood(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        self.scored.append(list(pairs))
        return [-1.0 if answer.strip() in prefix else -3.0 for prefix, answer in pairs]

    @property
    def context(self) -> dict[str, Any]:
        return {"generate": self.generate, "entailment": self.entailment, "likelihood": self.likelihood}


def kept(double: Model, hits: Sequence[list[Hit]], queries: Sequence[Query | str], **settings: Any) -> list[list[str]]:
    return [texts(found) for found in refine({"evidence": settings}, hits, queries, **double.context)]


@pytest.mark.parametrize("by", [{"by": "nli", "model": NLI}, {"by": "likelihood_contrast"}])
def test_passages_that_support_the_answer_stay(by: dict[str, Any]) -> None:
    model = Model({"When?": "1889", "Colour?": "red"})
    assert kept(model, [MANY, MANY, []], ["When?", "Colour?", "When?"], **by) == [[BUILT], [FLAG], []]


def test_an_irrelevant_passage_triggers_back_off() -> None:
    model = Model({"When?": "1889"}, {"When?": "in 1900"})
    assert kept(model, [[hit(SALT)]], ["When?"], by="nli", model=NLI) == [[]]
    assert kept(model, [[hit(SALT)]], ["When?"]) == [[]]


def test_identical_answers_never_change() -> None:
    hits = [hit(SALT), hit(FLAG)]
    model = Model({"When?": "In 1900."}, {"When?": "in  1900"})
    assert kept(model, [hits], ["When?"], by="nli", model=NLI) == [[SALT, FLAG]]


@pytest.mark.parametrize(
    ("second", "left"),
    [("salty", [SALT, BUILT]), ("sweet", [])],
)
@pytest.mark.parametrize("by", [{"by": "nli", "model": NLI}, {"by": "likelihood_contrast"}])
def test_the_least_supported_answer_decides(second: str, left: list[str], by: dict[str, Any]) -> None:
    model = Model({"When and what?": "1889", "When?": "1889", "Taste?": second})
    query = Query("When and what?", variants=("When?", "Taste?"), parts=("When?", "Taste?"))
    assert kept(model, [MANY], [query], **by) == [left]
    together = [SALT, BUILT, FLAG] if left else []
    assert kept(model, [MANY], [query], judge="together", **by) == [together]


def test_the_minimum_is_noted_where_passages_are_judged_as_one() -> None:
    model = Model({"Both?": "1889", "When?": "1889", "Colour?": "red"})
    values = {"Both? The answer is: 1889": 0.9, "When? The answer is: 1889": 0.6, "Colour? The answer is: red": 0.7}
    context = {**model.context, "entailment": lambda spec: lambda pairs: [values[said] for _, said in pairs]}
    query = Query("Both?", parts=("When?", "Colour?"))
    written = {"evidence": {"by": "nli", "model": NLI, "judge": "together"}}
    (found,) = refine(written, [MANY], [query], **context)
    assert [one.scores for one in found] == [{"entailment": 0.6}] * 3
    values["When? The answer is: 1889"] = 0.5  # not above the threshold
    assert refine(written, [MANY], [query], **context) == [[]]


def test_hypotheses_and_premises() -> None:
    model = Model({"Who is it": "Clara Aven"})
    kept(model, [[hit(SALT)]], ["Who is it"], by="nli", model=NLI)
    assert model.judged == [[(SALT, "Who is it? The answer is: Clara Aven")]]


def test_the_gain_in_likelihood_is_what_counts() -> None:
    model = Model({"When?": "1889"})
    (found,) = refine({"evidence": {"margin": 1.9}}, [MANY], ["When?"], **model.context)
    assert [(one.passage.text, one.score, one.scores) for one in found] == [(BUILT, 2.0, {"likelihood_contrast": 2.0})]
    (pairs,) = model.scored
    assert pairs.count(("Question: When?\nAnswer:", " 1889")) == 1
    assert len(pairs) == 4
    assert kept(model, [MANY], ["When?"], margin=2.0) == [[]]


def test_without_back_off_the_best_supported_stay() -> None:
    model = Model({"When?": "1900"})
    scores = {SALT: 0.2, BUILT: 0.4, FLAG: 0.3}
    context = {**model.context, "entailment": lambda spec: lambda pairs: [scores[premise] for premise, _ in pairs]}
    settings = {"by": "nli", "model": NLI, "back_off": False}
    assert [
        texts(refine({"evidence": {**settings, "keep_at_least": n}}, [MANY], ["When?"], **context)[0]) for n in (1, 2)
    ] == [
        [BUILT],
        [BUILT, FLAG],
    ]


def test_models_are_called_once_for_all_questions() -> None:
    model = Model({"When?": "1889", "Colour?": "red"})
    kept(model, [MANY, MANY, []], ["When?", "Colour?", "Taste?"], by="nli", model=NLI, draft_passages=2)
    assert [len(calls) for calls in model.asked] == [2]  # nothing was backed off, so no closed-book draft
    assert [len(calls) for calls in model.judged] == [6]
    prompt = model.asked[0][0].messages[-1][1]
    assert prompt == f"Passage: {BUILT}\n\nPassage: {SALT}\n\nQuestion: When?"
    assert model.asked[0][0].temperature == 0


def test_a_blank_answer_has_no_support() -> None:
    model = Model({"When?": "  "})
    assert kept(model, [MANY], ["When?"], by="nli", model=NLI) == [[]]
    assert kept(model, [MANY], ["When?"], back_off=False) == [[SALT]]
    assert model.judged == []


def test_missing_models_are_told() -> None:
    model = Model({})
    with pytest.raises(RunError, match="needs the pipeline's language model"):
        refine("evidence", [MANY])
    with pytest.raises(RunError, match="needs models to be loaded"):
        refine({"evidence": {"by": "nli", "model": NLI}}, [MANY], generate=model.generate)
    with pytest.raises(RunError, match="expected 4 scores"):
        refine("evidence", [MANY], ["When?"], generate=lambda asked: ["x"], likelihood=lambda pairs: [0.0])


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"by": "nli"}, "nli needs a model"),
        ({"model": NLI}, "a model has no place"),
        ({"by": "nli", "model": {**NLI, "kind": "encoder"}}, "kind cross_encoder, not encoder"),
        ({"threshold": 0.4}, "threshold has no place with by: likelihood_contrast"),
        ({"by": "nli", "model": NLI, "margin": 1}, "margin has no place"),
        ({"keep_at_least": 2}, "no place with back_off"),
        ({"judge": "together", "back_off": False}, "never drop"),
    ],
)
def test_settings_are_checked_at_load(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        stages({"evidence": settings})
