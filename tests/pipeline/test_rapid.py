"""RAPID from YAML to the answer: what each view shows, that drafts change nothing, and what is refused at load."""

from __future__ import annotations

import pytest

from ragdecode.errors import SpecError
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.relevance import most_relevant
from ragdecode.pipeline.request import DecodeRequest
from ragdecode.spec.load import load_pipeline
from ragdecode.spec.view_plan import planned_views
from tests.pipeline import tiny_app

CHAPTERS = [
    "The village lies in a valley.",
    "The bridge over the river has twelve arches.",
    "Cheese is made in the summer.",
    "In spring the river floods the bridge.",
    "Nobody lives in the tower.",
]
RAG = {"rag": {"passages": {"top_k": 2, "by": "relevance"}}}
RAPID = {"views": RAG, "rule": {"transfer": {"from": "rag", "eta": 10}}, "draft": {"view": {"name": "rag"}}}


def passages(scores=(0.0,) * 5):
    return tuple(
        Passage(f"p{rank}", "book", text, score, rank)
        for rank, (text, score) in enumerate(zip(CHAPTERS, scores, strict=True), start=1)
    )


def shown(prompt):
    return [text for text in CHAPTERS if text in prompt.text]


def test_the_target_reads_all_and_the_other_view_what_fits_the_question_in_the_order_of_the_text(make):
    prompts = make(RAPID).prepare(DecodeRequest("a", question="How many arches has the bridge?", passages=passages()))
    assert shown(prompts.prompts["with_context"]) == CHAPTERS
    assert shown(prompts.prompts["rag"]) == [CHAPTERS[1], CHAPTERS[3]]
    text = prompts.prompts["rag"].text
    assert text.index(CHAPTERS[1]) < text.index(CHAPTERS[3])


def test_scores_of_the_retriever_go_before_words(make):
    request = DecodeRequest("a", question="Which bridge?", passages=passages((0.1, 0.2, 0.9, 0.3, 0.8)))
    assert shown(make(RAPID).prepare(request).prompts["rag"]) == [CHAPTERS[2], CHAPTERS[4]]
    # also where long ones would be split, and none is
    views = {"rag": {"passages": {"top_k": 2, "by": "relevance", "tokens": 400}}}
    assert shown(make({**RAPID, "views": views}).prepare(request).prompts["rag"]) == [CHAPTERS[2], CHAPTERS[4]]


def test_by_place_the_first_are_taken_whatever_their_scores(make):
    views = {"rag": {"passages": {"top_k": 2}}}
    request = DecodeRequest("a", question="Which bridge?", passages=passages((0.1, 0.2, 0.9, 0.3, 0.8)))
    assert shown(make({**RAPID, "views": views}).prepare(request).prompts["rag"]) == CHAPTERS[:2]


def test_of_one_long_passage_the_parts_that_fit_the_question_are_shown(make):
    filler = " ".join(f"Sentence {number} is about nothing in particular." for number in range(7))
    text = f"{filler} {CHAPTERS[1]} {filler} {CHAPTERS[3]} {filler}"
    views = {"rag": {"passages": {"top_k": 2, "by": "relevance", "tokens": 48}}}
    request = DecodeRequest("a", question="Which bridge?", passages=(Passage("p1", "book", text, 0.7),))
    prompts = make({**RAPID, "views": views}).prepare(request).prompts
    assert shown(prompts["with_context"]) == shown(prompts["rag"]) == [CHAPTERS[1], CHAPTERS[3]]
    assert len(prompts["rag"].ids) < 150 < len(prompts["with_context"].ids)


def test_parts_by_place_are_the_beginning(make):
    views = {"rag": {"passages": {"top_k": 1, "tokens": 16}}}
    request = DecodeRequest("a", question="Which bridge?", passages=(Passage("p1", "book", " ".join(CHAPTERS)),))
    text = make({**RAPID, "views": views}).prepare(request).prompts["rag"].text
    assert "The village" in text
    assert CHAPTERS[4] not in text


@pytest.mark.parametrize("count", [0, 1, 5, 9])
def test_any_number_may_be_asked_for(count):
    best = most_relevant("bridge", passages(), count, str.split)
    assert len(best) == min(count, 5)
    assert [item.rank for item in best] == sorted(item.rank for item in best)


def test_from_an_index_the_document_is_read_in_order(make, app):
    (app / "docs" / "book.md").write_text(
        "\n\n".join(f"# {n}\n\n{text} Chapter river." for n, text in enumerate(CHAPTERS))
    )
    index = {"corpus": {"path": "../docs"}, "split": {"tokens": 16, "overlap": 0}, "stores": ["bm25"]}
    retrieve = [{"bm25": {"top_k": 20}}, {"order": {"by": "document"}}]
    pipeline = make(RAPID, index=index, retrieve=retrieve)
    answer = pipeline.ask("Which river floods which bridge?")
    starts = [item.metadata["start"] for item in answer.passages if item.source.endswith("book.md")]
    assert len(starts) > 3
    assert starts == sorted(starts)
    assert [item.score for item in answer.passages] != sorted((item.score for item in answer.passages), reverse=True)


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.9, "seed": 5}], ids=["greedy", "sampled"])
@pytest.mark.parametrize(
    "draft", [{"view": {"name": "rag"}}, "prompt_lookup", ["prompt_lookup", {"view": {"name": "rag"}}]]
)
def test_drafts_change_nothing(make, draft, sampling):
    decode = {**RAPID, "sampling": sampling, "max_new_tokens": 14}
    question = "How many arches has the bridge?"
    drafted = make({**decode, "draft": draft}).ask(question, passages=passages())
    plain = make({key: value for key, value in decode.items() if key != "draft"}).ask(question, passages=passages())
    assert drafted.token_ids == plain.token_ids
    assert drafted.stats.drafted > 0


def test_the_three_modes_are_three_distributions(make):
    def answer(rule, **decode):
        recipe = {**RAPID, "rule": rule, "max_new_tokens": 14, **decode}
        return make(recipe).ask("How many arches has the bridge?", passages=passages()).token_ids

    alone = make({"max_new_tokens": 14}).ask("How many arches has the bridge?", passages=passages()).token_ids
    assert answer({"transfer": {"from": "rag", "mode": "exact-p"}}) == alone
    assert answer({"transfer": {"from": "rag", "eta": 20}}) != alone
    paper = {"transfer": {"from": "rag", "mode": "paper"}}
    chain = {"draft": {"view": {"name": "rag", "branch": 1}}, "verification": "rejection"}
    assert answer(paper, **chain) == alone  # at temperature 0 nothing is drawn
    assert len(answer(paper, **chain, sampling={"temperature": 1.0})) == 14


def test_the_catalogue_recipe():
    spec = load_pipeline("rapid").spec
    views = {view.name: view for view in planned_views(spec.decode)}
    assert (views["rag"].rules, views["rag"].drafters) == (("transfer",), ("view",))
    assert spec.decode.rule[0].settings.mode == "exact-p-hat"


LOOKUP, VIEW = "prompt_lookup", {"view": {"name": "rag"}}
TESTED = {"views": RAG, "draft": VIEW, "verification": "rejection"}
BAD = [
    ({**RAPID, "views": {}}, "asks for the view 'rag', which is not declared"),
    ({**RAPID, "views": {"rags": RAG["rag"]}}, "did you mean 'rags'"),
    ({**RAPID, "rule": {"transfer": {"from": "with_context"}}}, "nothing to learn from itself"),
    ({**RAPID, "rule": "transfer"}, "from"),
    ({**RAPID, "rule": {"transfer": {"from": "rag", "etta": 1}}}, "etta"),
    ({**RAPID, "views": {"rag": {"passages": {"by": "rank"}}}}, "relevance"),
    ({**RAPID, "rule": {"transfer": {"from": "rag", "mode": "paper"}}}, "verification: rejection"),
    (
        {**TESTED, "rule": [{"transfer": {"from": "rag", "mode": "paper"}}, "cad"]},
        "which no other rule may change",
    ),
    (
        {**TESTED, "rule": {"transfer": {"from": "rag", "mode": "paper"}}},
        "'view' draws several tokens a node, and the published test of 'transfer' judges one",
    ),
    ({**TESTED, "draft": [LOOKUP, VIEW]}, "exactly one drafter, here: prompt_lookup, view"),
    ({"verification": "rejection"}, "exactly one drafter, here: none"),
    ({"draft": LOOKUP, "verification": "rejection"}, "'prompt_lookup' draws from no distribution"),
    ({**TESTED, "constraint": {"ban": {"tokens": [3]}}}, "does not go together with the constraint 'ban'"),
    ({**TESTED, "max_draft_nodes": 1}, "leaves room for none"),
    ({**TESTED, "verification": "typical"}, "verification"),
]


@pytest.mark.parametrize(("decode", "message"), BAD, ids=[message for _, message in BAD])
def test_what_cannot_go_together_is_refused_before_anything_loads(app, decode, message):
    file = tiny_app.write_pipeline(app, "bad", decode=decode)
    with pytest.raises(SpecError, match=message):
        load_pipeline(file)
