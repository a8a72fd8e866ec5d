"""The trace shows what decided each token, and lets no document, question or token become markup."""

import base64
import hashlib
import json
import math
from html.parser import HTMLParser

import pytest

from ragdecode.decoding.request import Alternative, Stats, TokenRecord
from ragdecode.errors import RunError
from ragdecode.pipeline.answer import Answer, EvidenceRange, Seconds, Sentence
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.trace import place, trace_data, write_trace

HOSTILE = '</script><img src=x onerror="alert(1)"><!-- {{script}} {{data}} \u2028 &lt;'


def an_answer(**changes) -> Answer:
    views = {"without_context": -3.0, "with_context": -0.1}
    record = TokenRecord(
        0, 7, -0.05, views, "prompt_lookup", {"with_context": 7, "without_context": 8}, [Alternative(7, -0.05, views)]
    )
    fields = {
        "question": "Where?",
        "answer": "Lyon",
        "finish_reason": "stop",
        "passages": (Passage("c1", "a.md", "It is Lyon.", -1.5, 1, {"heading": ["A", "B"], "start": 3, "end": 9}),),
        "sentences": (),
        "stats": Stats(10, 1, 1, 2, 3, 4, 1, 0.5, 0.25, {"prompt_lookup": {"proposed": 4, "accepted": 1}}),
        "seconds": Seconds(1.0, 0.5, 0.5, 0.25),
        "pipeline": "docs-qa",
        "token_ids": (7,),
        "records": [record],
        "token_texts": {7: " Lyon", 8: " Paris"},
        "prompts": {"with_context": "prompt A", "without_context": "prompt B"},
        "headline": "hybrid % 8 >> decode[cad]",
    }
    return Answer(**(fields | changes))


class Page(HTMLParser):
    """Collects tags with attributes, and the text of each script and style."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.blocks, self.title, self._inside = [], [], "", None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag in ("script", "style"):
            self.blocks.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside in ("script", "style"):
            tag, attrs, text = self.blocks[-1]
            self.blocks[-1] = (tag, attrs, text + data)
        elif self._inside == "title":
            self.title += data


def page_of(answer, tmp_path) -> Page:
    path = tmp_path / "trace.html"
    write_trace(answer, path)
    return Page(path.read_text(encoding="utf-8"))


def data_of(page: Page) -> dict:
    (text,) = [text for _, attrs, text in page.blocks if attrs.get("id") == "data"]
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_holds_what_was_known_of_each_token(tmp_path):
    data = data_of(page_of(an_answer(), tmp_path))
    (token,) = data["tokens"]
    assert token["source"] == "prompt_lookup"
    assert token["views"] == {"without_context": -3.0, "with_context": -0.1}
    assert token["choices"] == {"with_context": 7, "without_context": 8}
    assert data["texts"] == {"7": " Lyon", "8": " Paris"}
    assert data["views"] == ["with_context", "without_context"]
    assert data["headline"] == "hybrid % 8 >> decode[cad]"
    assert data["prompts"]["without_context"] == "prompt B"
    assert data["stats"]["seconds"] == {"load": 1.0, "retrieve": 0.5, "prefill": 0.5, "decode": 0.25}
    assert data["passages"][0]["place"] == "A › B · characters 3 to 9"


@pytest.mark.parametrize("field", ["question", "answer", "headline", "notes", "passages", "token_texts", "prompts"])
def test_hostile_text_stays_text(field, tmp_path):
    value = {
        "notes": (HOSTILE,),
        "passages": (Passage(HOSTILE, HOSTILE, HOSTILE, 0.0, 1, {"heading": HOSTILE}),),
        "token_texts": {7: HOSTILE, 8: "x"},
        "prompts": {"with_context": HOSTILE},
    }.get(field, HOSTILE)
    clean, page = page_of(an_answer(), tmp_path), page_of(an_answer(**{field: value}), tmp_path)
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in clean.tags]
    assert data_of(page) == json.loads(json.dumps(trace_data(an_answer(**{field: value}))))
    if field == "question":
        assert page.title == f"{HOSTILE} · ragdecode trace"


def test_policy_allows_its_own_script_and_style_and_nothing_else(tmp_path):
    page = page_of(an_answer(), tmp_path)
    (policy,) = [a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for tag, attrs, text in page.blocks:
        if "type" not in attrs:
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert rules[f"{tag}-src"] == f"'sha256-{digest}'"


def test_needs_no_other_file_and_no_host(tmp_path):
    page = page_of(an_answer(), tmp_path)
    assert not [attrs for _, attrs in page.tags if "src" in attrs]
    assert [attrs["href"] for _, attrs in page.tags if "href" in attrs] == ["#answer"]
    style = next(text for tag, _, text in page.blocks if tag == "style")
    assert "url(" not in style
    assert "@import" not in style


def test_script_never_writes_markup(tmp_path):
    script = page_of(an_answer(), tmp_path).blocks[-1][2]
    assert "textContent" in script
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
        assert way not in script


def test_log_of_zero_is_null(tmp_path):
    record = TokenRecord(0, 7, -math.inf, {"with_context": -math.inf}, "model")
    (token,) = data_of(page_of(an_answer(records=[record]), tmp_path))["tokens"]
    assert token["logprob"] is None
    assert token["views"] == {"with_context": None}


def test_an_empty_answer_has_a_page(tmp_path):
    data = data_of(page_of(an_answer(answer="", records=[], token_ids=(), passages=()), tmp_path))
    assert data["tokens"] == []
    assert data["views"] == []


def test_a_folder_that_is_not_there_is_named_and_nothing_is_left(tmp_path):
    with pytest.raises(RunError, match="no-such-folder") as caught:
        write_trace(an_answer(), tmp_path / "no-such-folder" / "trace.html")
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_place_of_a_page():
    assert place(Passage("1", "a.pdf", "x", metadata={"page": 3, "heading": "H"})) == "page 3 · H"
    assert place(Passage("1", "a.txt", "x")) == ""


def test_shows_sentences_with_the_text_of_their_evidence(tmp_path):
    sentence = Sentence("Lyon", 0, 4, 0.25, ("c1",), (EvidenceRange("c1", 6, 11), EvidenceRange("gone", 0, 1)), False)
    (shown,) = data_of(page_of(an_answer(sentences=(sentence,)), tmp_path))["sentences"]
    assert shown["faithfulness"] == 0.25
    assert shown["evidence"] == [{"number": 1, "text": "Lyon."}]
