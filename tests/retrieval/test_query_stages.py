from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from ragdecode.errors import InputError, RunError
from ragdecode.indexing.index import Index
from ragdecode.retrieval.query import Query
from ragdecode.retrieval.stage import RetrievalContext
from tests.retrieval.chains import chain, small_index, stages
from tests.retrieval.writers import Recorded, last

TALK = (("user", "What colour is the sea?"), ("assistant", "The sea is blue and green, and salty."))
FOLLOW_UP = Query("And how salty is it?", TALK)
STAGES = ["rewrite", "hyde", "multi_query", "decompose"]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return small_index(tmp_path_factory.mktemp("index"))


def rework(written: Any, queries: Sequence[Query], writer: Recorded | None, index: Index | None = None) -> list[Query]:
    (part,) = stages(written)
    done: list[Query] = part.build().rework(queries, RetrievalContext(index, generate=writer))
    return done


def test_a_follow_up_question_is_searched_in_words_that_stand_alone(index: Index) -> None:
    writer = Recorded('Question: "How salty is the sea?"\nThe answer is 3.5 %.')
    (query,) = rework("rewrite", [FOLLOW_UP], writer)
    assert query == Query("How salty is the sea?", TALK)
    prompt = last(writer.asked[0])
    assert "user: What colour is the sea?\nassistant: The sea is blue and green, and salty.\n" in prompt
    assert "Follow-up question: And how salty is it?" in prompt
    outcome = chain(index, "rewrite", {"bm25": {"top_k": 1}}, generate=Recorded("How salty is the sea?")).run(
        [FOLLOW_UP]
    )
    assert outcome.hits[0][0].passage.source == "sea.html"
    assert [query.text for query in outcome.queries] == ["How salty is the sea?"]
    assert outcome.stages[0].queries == outcome.queries


def test_only_follow_up_questions_are_rewritten_all_in_one_call() -> None:
    first = Query("What is a pear?")
    writer = Recorded(
        lambda asked: last(asked).split("Follow-up question: ")[1].split("\n")[0].replace("it", "the sea")
    )
    queries = [first, FOLLOW_UP, Query("Is it green?", TALK)]
    done = rework("rewrite", queries, writer)
    assert [query.text for query in done] == ["What is a pear?", "And how salty is the sea?", "Is the sea green?"]
    assert len(writer.asked) == 2
    assert rework("rewrite", [first], None) == [first]  # nothing to ask, so no model is missed


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\n",
        '""',
        "...",
        "I am sorry, but I cannot help you with that request.",  # not about what was said
        "The sea is blue and green, and salty.",  # an earlier message again
        "sea " * 100,
    ],
)
def test_a_rewriting_that_cannot_be_meant_leaves_the_question_as_it_is(text: str) -> None:
    assert rework({"rewrite": {"keep": True}}, [FOLLOW_UP], Recorded(text)) == [FOLLOW_UP]


def test_the_question_as_asked_may_be_searched_too() -> None:
    (query,) = rework({"rewrite": {"keep": True}}, [FOLLOW_UP], Recorded("How salty is the sea?"))
    assert query.variants == ("And how salty is it?",)
    (same,) = rework({"rewrite": {"keep": True}}, [FOLLOW_UP], Recorded("and how salty is it"))
    assert same.variants == ()


def test_the_model_sees_the_latest_of_the_conversation() -> None:
    talk = (("system", "Be brief."), *(("user", f"word{n} " * 50) for n in range(9)))
    writer = Recorded()
    rework({"rewrite": {"turns": 2, "turn_words": 3, "max_new_tokens": 7}}, [Query("Why?", talk)], writer)
    prompt = last(writer.asked[0])
    assert "Conversation:\nuser: word7 word7 word7 ...\nuser: word8 word8 word8 ...\n\n" in prompt
    assert writer.asked[0].max_new_tokens == 7


def test_the_prompt_is_the_users_to_choose() -> None:
    prompt = [
        {"role": "system", "content": "Short."},
        {"role": "user", "content": "{{ question }}|{{ history|length }}"},
    ]
    writer = Recorded()
    rework({"rewrite": {"prompt": prompt}}, [FOLLOW_UP], writer)
    assert writer.asked[0].messages == (("system", "Short."), ("user", "And how salty is it?|2"))


def test_markup_in_a_question_is_text() -> None:
    writer = Recorded()
    rework("multi_query", [Query("{{ 7 * 7 }} {% raw %}")], writer)
    assert "Question: {{ 7 * 7 }} {% raw %}\n" in last(writer.asked[0])


def test_other_wordings_are_searched_beside_the_question(index: Index) -> None:
    writer = Recorded(
        "1. What do pears look like?\n2) what DO pears look like\n- **Pear tree**\nPears?\n\n\n4. Orchard"
    )
    (query,) = rework({"multi_query": {"n": 3}}, [Query("pears")], writer)
    assert query.variants == ("What do pears look like?", "Pear tree", "Orchard")
    assert "Write 3 other wordings" in last(writer.asked[0])
    assert query.text == "pears"
    outcome = chain(index, {"multi_query": {"n": 1}}, "bm25", generate=Recorded("salty")).run(["orchard"])
    assert {hit.passage.source for hit in outcome.hits[0]} == {"fruit/apple.md", "sea.html"}


def test_wordings_may_be_drawn() -> None:
    writer = Recorded("x")
    rework({"multi_query": {"n": 1, "temperature": 0.9, "seed": 4}}, [Query("pears")], writer)
    assert (writer.asked[0].temperature, writer.asked[0].seed) == (0.9, 4)
    assert "Write 1 other wording of" in last(writer.asked[0])


def test_a_made_up_answer_shows_where_to_look(index: Index) -> None:
    assert chain(index, {"dense": {"top_k": 1}}).retrieve(["weather?"])[0][0].passage.source != "sky.txt"
    writer = Recorded(" Clouds are white and rain falls from clouds in the sky. \n")
    outcome = chain(index, "hyde", {"dense": {"top_k": 1}}, generate=writer).run(["weather?"])
    assert outcome.queries[0].likenesses == ("Clouds are white and rain falls from clouds in the sky.",)
    assert outcome.hits[0][0].passage.source == "sky.txt"
    assert last(writer.asked[0]).startswith("Please write a passage")
    assert writer.asked[0].temperature == 0


def test_several_made_up_answers_are_drawn_with_seeds_of_their_own(index: Index) -> None:
    writer = Recorded(lambda asked: f"{last(asked)} {asked.seed}" if asked.seed != 5 else " ")
    queries = rework({"hyde": {"n": 3, "seed": 4}}, [Query("a?"), Query("b?")], writer, index)
    assert [(asked.seed, asked.temperature) for asked in writer.asked] == [(4, 0.7), (5, 0.7), (6, 0.7)] * 2
    assert [[text[-1] for text in query.likenesses] for query in queries] == [["4", "6"], ["4", "6"]]
    assert "b?" in queries[1].likenesses[0]


def test_hyde_wants_a_store_of_vectors(index: Index) -> None:
    with pytest.raises(InputError, match="the store 'bm25' has none"):
        rework({"hyde": {"store": "bm25"}}, [Query("a?")], Recorded(), index)
    with pytest.raises(InputError, match="would all be the same"):
        stages({"hyde": {"n": 2, "temperature": 0}})[0].build()


def test_the_model_takes_a_question_apart() -> None:
    question = "Who made the bridge and the tower?"
    writer = Recorded("1. Who made the bridge?\n2. Who made the tower?\n3. Paris\n4. who made the bridge and the tower")
    (query,) = rework("decompose", [Query(question)], writer)
    assert query.parts == query.variants == ("Who made the bridge?", "Who made the tower?")
    assert query.text == question
    assert f"Question: {question}" in last(writer.asked[0])
    (cut,) = rework({"decompose": {"most": 2, "by": "lm"}}, [Query("a b c")], Recorded("a\nb\nc"))
    assert cut.parts == ("a", "b")


def test_parts_that_are_searched_already_are_not_searched_twice() -> None:
    (query,) = rework("decompose", [Query("a and b", variants=("a", "z"))], Recorded("A\nb"))
    assert query.parts == ("A", "b")
    assert query.variants == ("a", "z", "b")


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        ("Who built the bridge and how tall is the tower?", ["Who built the bridge?", "How tall is the tower?"]),
        ("When was Rome founded? When was Athens founded?", ["When was Rome founded?", "When was Athens founded?"]),
        ("What is BM25, what is RRF, and how do both work?", ["What is BM25?", "What is RRF?", "How do both work?"]),
        ("What is the difference between a stem and a lemma?", ["What is a stem?", "What is a lemma?"]),
        ("Who built the bridge and how long is it?", ["Who built the bridge?"]),  # "it" cannot be searched alone
        ("Who was the man who wrote Emma and who died in 1817?", []),  # relative clauses
        ("Which city, which held the games, is the largest?", []),
        ("How do black and white photos fade?", []),
        ("Tell me about apples and pears", []),
        ("Why?", []),
        ("?", []),
    ],
)
def test_clauses_are_split_at_their_seams(question: str, parts: list[str]) -> None:
    (query,) = rework({"decompose": {"by": "clauses"}}, [Query(question)], None)
    assert list(query.parts) == list(query.variants) == parts


def test_a_long_question_is_split_in_no_time() -> None:
    query = Query("difference between a and " * 20_000 + "?")
    assert len(rework({"decompose": {"by": "clauses"}}, [query], None)) == 1


def test_stages_say_whether_they_use_the_model() -> None:
    built = {name: stages(name)[0].build() for name in [*STAGES, "rm3"]}
    assert {name for name, stage in built.items() if stage.needs_model} == set(STAGES)
    assert not stages({"decompose": {"by": "clauses"}})[0].build().needs_model
    assert {stage.role for stage in built.values()} == {"query"}


@pytest.mark.parametrize("name", STAGES)
def test_without_a_model_there_is_a_clear_error(index: Index, name: str) -> None:
    with pytest.raises(RunError, match="needs the pipeline's language model"):
        chain(index, name, "hybrid").retrieve([FOLLOW_UP])
    with pytest.raises(RunError, match="expected 1 texts, got 0"):
        chain(index, name, "hybrid", generate=lambda asked: []).retrieve([FOLLOW_UP])


@pytest.mark.parametrize("name", STAGES)
def test_no_query_asks_nothing(index: Index, name: str) -> None:
    assert chain(index, name, "hybrid").retrieve([]) == []


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        (
            {"rewrite": {"prompt": [{"role": "user", "content": "{{ n }}"}]}},
            "'n' is undefined; there are question, history",
        ),
        ({"hyde": {"prompt": [{"role": "user", "content": "{% if %}"}]}}, "not a Jinja template"),
        ({"hyde": {"prompt": [{"role": "user", "content": "{{ question.__class__.__mro__ }}"}]}}, "cannot be filled"),
        ({"hyde": {"prompt": [{"role": "assistant", "content": "x"}]}}, "the last message must be the user's"),
        ({"hyde": {"prompt": []}}, "at least 1 item"),
        ({"rewrite": {"turns": 0}}, "greater than or equal to 1"),
        ({"decompose": {"by": "claus"}}, "unknown decomposer 'claus'; did you mean 'clauses'"),
        ({"multi_query": {"n": 99}}, "less than or equal to 16"),
    ],
)
def test_settings_are_checked(written: Any, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        stages(written)


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        (["bm25", "rewrite"], "retrieve.1: rewrite reworks the question, so it goes before bm25"),
        (["rewrite", "rerank"], "retrieve.1: rerank transforms passages"),
        (["rewrite"], "retrieve.0: no stage finds passages"),
        (["hyde", "bm25"], "retrieve.0: hyde is for the store faiss, which bm25 does not search"),
        (["rm3", "dense"], "retrieve.0: rm3 is for the store bm25, which dense does not search"),
        ([{"rm3": {"store": "x"}}, "hybrid"], "searches the store 'x', which the index lacks"),
    ],
)
def test_chains_that_cannot_run_are_refused(index: Index, written: list[Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        chain(index, *written)
