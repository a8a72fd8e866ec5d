from __future__ import annotations

import logging
from typing import Any

import pytest
from pydantic import ValidationError

from ragdecode.errors import SpecError
from ragdecode.spec.load import load_document
from tests.retrieval.chains import stages
from tests.retrieval.passages import hit, refine, texts

HITS = [
    hit("a", 4.0, source="manual/one/intro.md", year=2019, lang="en", scores={"bm25": 3.0, "faiss": 0.2}),
    hit("b", 2.0, source="manual/two.md", year=2021, lang="de", scores={"bm25": 1.0}, page=3),
    hit("c", 1.0, source="notes/old.md", year="2020", draft=True, heading="Setup > Network", scores={"faiss": 0.9}),
    hit("d", -1.0, source="notes/new.md", year=2022.5, lang="fr", price=None),
]


def kept(**settings: Any) -> str:
    return "".join(texts(refine({"filter": settings}, [HITS])[0]))


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"min_score": 1.0}, "abc"),
        ({"min_score": {"bm25": 2.0}}, "a"),
        ({"min_score": {"bm25": 2.0}, "missing": "keep"}, "acd"),
        ({"min_score": {"bm25": 1.0, "faiss": 0.1}}, "a"),
        ({"relative": 0.5}, "ab"),
        ({"relative": 1}, "a"),
        ({"within": 3}, "abc"),
        ({"top_k": 2}, "ab"),
        ({"min_score": 0, "top_k": 2, "where": {"source": "**/*.md"}}, "ab"),
        ({"where": {"source": "manual/**"}}, "ab"),
        ({"where": {"source": "manual/*"}}, "b"),
        ({"where": {"source": ["notes/old.md", "**/intro.*"]}}, "ac"),
        ({"where": {"year": {"min": 2020, "max": 2021}}}, "bc"),
        ({"where": {"year": {"min": 2021}}}, "bd"),
        ({"where": {"year": 2020}}, "c"),
        ({"where": {"year": "2020"}}, "c"),
        ({"where": {"lang": ["en", "de"]}}, "ab"),
        ({"where": {"lang": ["en", "de"]}, "missing": "keep"}, "abc"),
        ({"where": {"lang": {"min": "de", "max": "en"}}}, "ab"),
        ({"where": {"page": 3}}, "b"),
        ({"where": {"heading": {"contains": "network"}}}, "c"),
        ({"where": {"draft": True}}, "c"),
        ({"where": {"draft": 1}}, ""),
        ({"where": {"price": 1}, "missing": "keep"}, "abcd"),
        ({"where": {"nowhere": 1}}, ""),
        ({"where": {"lang": {"min": 3}}}, ""),
    ],
)
def test_what_passes(settings: dict[str, Any], left: str) -> None:
    assert kept(**settings) == left


def test_a_share_of_a_negative_score_is_mirrored() -> None:
    hits = [hit("a", -2.0), hit("b", -4.0), hit("c", -4.1)]
    assert texts(refine({"filter": {"relative": 0.5}}, [hits])[0]) == ["a", "b"]


def test_each_question_has_its_own_best() -> None:
    found = refine({"filter": {"relative": 0.5}}, [[hit("a", 10.0), hit("b", 4.0)], [hit("b", 4.0), hit("c", 3.0)], []])
    assert [texts(hits) for hits in found] == [["a"], ["b", "c"], []]


def test_a_name_that_no_passage_knows_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        kept(where={"yaer": 2019}, min_score={"bm24": 1})
    assert "no passage has the field 'yaer'; they have draft, end, heading, lang" in caplog.text
    assert "no passage has the score 'bm24'; they have bm25, faiss" in caplog.text


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({}, "at least one of min_score"),
        ({"min_score": {}}, "names no score"),
        ({"min_score": float("nan")}, "finite"),
        ({"relative": 0}, "greater than 0"),
        ({"where": {"year": None}}, "a value, a list of values, or a mapping"),
        ({"where": {"year": []}}, "at least 1"),
        ({"where": {"year": {}}}, "at least one of min, max, contains"),
        ({"where": {"year": {"min": 3, "max": 2}}}, r"min \(3\) is above max \(2\)"),
        ({"where": {"year": {"min": 3, "max": "4"}}}, "both be numbers or both be text"),
    ],
)
def test_settings_are_checked_at_load(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        stages({"filter": settings})


def test_errors_name_the_line(tmp_path: Any) -> None:
    (tmp_path / "retrievers").mkdir()
    file = tmp_path / "retrievers" / "mine.yaml"
    file.write_text("- bm25\n- filter:\n    where:\n      year: {min: 2019, mx: 2020}\n      lang: null\n")
    with pytest.raises(SpecError) as caught:
        load_document("retrievers", file)
    assert [(problem.line, problem.message) for problem in caught.value.problems] == [
        (4, "unknown key 'mx'"),
        (5, "expected a value, a list of values, or a mapping with min, max, contains"),
    ]


def test_the_best_that_pass_are_kept_in_any_order() -> None:
    for order in ("dcba", "bdac", "abcd"):
        arranged = [next(one for one in HITS if one.passage.text == name) for name in order]
        (found,) = refine({"filter": {"top_k": 2, "where": {"source": ["notes/*", "manual/two.md"]}}}, [arranged])
        assert texts(found) == [name for name in order if name in "bc"]
