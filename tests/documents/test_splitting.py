from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragdecode.documents.document import Block, Document, Heading, Page, Record
from ragdecode.documents.passage import Passage
from ragdecode.documents.readers.markdown import MarkdownReader
from ragdecode.documents.splitting import split
from ragdecode.documents.tokens import TokenTable
from ragdecode.spec.index import SplitSpec
from ragdecode.spec.settings import NoSettings


def words(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]


def characters(text: str) -> list[tuple[int, int]]:
    """Like a byte-level tokenizer: one token a UTF-8 byte, so that a character may be several tokens."""
    return [(at, at + 1) for at, character in enumerate(text) for _ in character.encode("utf-8", "replace")]


def markdown(text: str, tokens: int = 16, overlap: int = 0) -> list[Passage]:
    document = MarkdownReader(NoSettings()).read(text.encode())
    return split(document, "a.md", SplitSpec(tokens=tokens, overlap=overlap), words)


prose = st.lists(
    st.one_of(
        st.sampled_from(["word", "Sentence end.", "Why?", "\n", "\n\n", "  ", "# Head\n", "\t", "。", "🙂", "x" * 40]),
        st.text(max_size=12),
    ),
    max_size=120,
).map(" ".join)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    text = draw(prose)
    places = sorted(draw(st.sets(st.integers(0, max(0, len(text) - 1)), max_size=5)))
    ends = [*places[1:], len(text)] if places else []
    heads = [
        Heading(draw(st.integers(1, 3)), f"h{start}", start, min(start + draw(st.integers(0, 9)), end))
        for start, end in zip(places, ends, strict=True)
    ]
    pages = tuple(Page(number, start) for number, start in enumerate([0, *places], start=1))
    walls = sorted(draw(st.sets(st.integers(0, max(0, len(text) - 1)), max_size=3)))
    records = tuple(Record(f"r{start}", start, f"t{start}", {"at": start}) for start in walls)
    edges = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
    blocks = tuple(Block(start, end, draw(st.booleans())) for start, end in zip(edges[::2], edges[1::2], strict=False))
    return Document(text, tuple(heads), pages, records, {"file": "f"}, blocks)


@given(documents(), st.integers(16, 40), st.data(), st.sampled_from([words, characters]))
def test_no_text_is_lost_and_every_passage_is_in_its_place(document, tokens, data, tokenizer) -> None:
    overlap = data.draw(st.integers(0, tokens // 2))
    passages = split(document, "a", SplitSpec(tokens=tokens, overlap=overlap), tokenizer)
    covered = set()
    for passage in passages:
        assert document.text[passage.start : passage.end] == passage.text
        assert passage.text == passage.text.strip() != ""
        covered.update(range(passage.start, passage.end))
    missing = [at for at, character in enumerate(document.text) if not character.isspace() and at not in covered]
    assert not missing
    starts = [passage.start for passage in passages]
    ends = [passage.end for passage in passages]
    assert starts == sorted(set(starts))
    assert ends == sorted(set(ends))
    assert len({passage.id for passage in passages}) == len(passages)


@given(documents(), st.integers(16, 40), st.data())
def test_passages_keep_the_limit_and_share_no_more_than_the_overlap(document, tokens, data) -> None:
    overlap = data.draw(st.integers(0, tokens // 2))
    passages = split(document, "a", SplitSpec(tokens=tokens, overlap=overlap), words)
    for passage in passages:
        # a section that begins inside a word has a piece of it more than it has whole tokens
        cut = passage.start > 0 and not document.text[passage.start - 1].isspace()
        assert len(words(passage.text)) - cut <= tokens or "\n" not in passage.text
        assert passage.tokens <= tokens
    for before, after in itertools.pairwise(passages):
        shared = TokenTable(document.text, words).count(after.start, before.end) if after.start < before.end else 0
        assert shared <= overlap


@given(documents(), st.integers(16, 40), st.data())
def test_passages_keep_to_their_record(document, tokens, data) -> None:
    overlap = data.draw(st.integers(0, tokens // 2))
    ends = [*(record.start for record in document.records[1:]), len(document.text)][: len(document.records)]
    for passage in split(document, "a", SplitSpec(tokens=tokens, overlap=overlap), words):
        inside = [
            record
            for record, end in zip(document.records, ends, strict=True)
            if record.start <= passage.start and passage.end <= end
        ]
        before_all = not document.records or passage.end <= document.records[0].start
        assert bool(inside) != before_all
        record = inside[0] if inside else Record("", 0)
        assert passage.record == record.name
        assert passage.attributes == {"file": "f", **record.metadata}
        titles = [part for part in passage.heading.split(" > ") if part.startswith("t")]
        assert titles == ([record.title] if inside else [])
        above = [int(part[1:]) for part in passage.heading.split(" > ") if part.startswith("h")]
        assert all(record.start <= start for start in above)


@given(documents(), st.integers(16, 40))
def test_blocks_that_fit_are_whole_in_a_passage(document, tokens) -> None:
    passages = split(document, "a", SplitSpec(tokens=tokens, overlap=0), words)
    table = TokenTable(document.text, words)
    borders = [heading.start for heading in document.headings] + [record.start for record in document.records]
    for block in document.blocks:
        crossed = any(block.start < border < block.end for border in borders)
        if crossed or table.count(block.start, block.end) > tokens:
            continue
        inner = document.text[block.start : block.end]
        first = block.start + len(inner) - len(inner.lstrip())
        last = block.start + len(inner.rstrip())
        if first < last:
            assert any(passage.start <= first and last <= passage.end for passage in passages)


def test_records_are_split_alone_under_their_own_titles_and_headings() -> None:
    one = "Alpha\n\n# Part\n\n" + " ".join(["one"] * 14)
    two = "Beta\n\ntwo."
    text = f"{one}\n\n{two}"
    records = (Record("a", 0, "Alpha", {"year": 1}), Record("b", len(one) + 2, "Beta"))
    heads = (Heading(1, "Part", 7, 14),)
    document = Document(text, heads, records=records, metadata={"year": 0, "lang": "en"})
    passages = split(document, "f.jsonl", SplitSpec(tokens=16, overlap=8), words)
    assert [(passage.record, passage.heading) for passage in passages] == [
        ("a", "Alpha"),  # its first text stands above the heading
        ("a", "Alpha > Part"),
        ("b", "Beta"),
    ]
    assert passages[-1].text == two
    assert [dict(passage.attributes) for passage in passages[1:]] == [
        {"year": 1, "lang": "en"},
        {"year": 0, "lang": "en"},
    ]


CODE = "```py\nfirst = 1\n\nsecond = 2\n```"


def test_code_is_not_cut_at_its_blank_lines_where_it_fits() -> None:
    before = "Words before it, " + "more " * 4 + "here."
    passages = markdown(f"{before}\n\n{CODE}\n\nAfter.\n", tokens=17)
    assert [passage.text for passage in passages] == [before, f"{CODE}\n\nAfter."]
    close = markdown(f"{before}\n{CODE}\n", tokens=16)  # no blank line before it
    assert [passage.text for passage in close] == [before, CODE]


def test_long_code_and_tables_are_cut_between_lines() -> None:
    lines = [f"call(a{number}). Then b" for number in range(6)]
    code = "```\n" + "\n".join(lines) + "\n```"
    for passage in markdown(code):
        assert set(passage.text.split("\n")) <= {"```", *lines}
    rows = ["| a | b |", "|---|---|", *(f"| One. Two {number} | x |" for number in range(6))]
    passages = markdown("\n".join(rows))
    assert len(passages) > 2
    for passage in passages:
        assert set(passage.text.split("\n")) <= set(rows)


def test_items_of_a_list_stay_whole_where_they_fit() -> None:
    items = [f"- Item {number}. It has two sentences, both short." for number in range(3)]
    assert [passage.text for passage in markdown("\n".join(items))] == items
    nested = "- Outer one, long enough.\n  - Inner a. With two.\n  - Inner b. With two.\n  - Inner c. With two."
    assert [passage.text.strip() for passage in markdown(nested)] == [
        "- Outer one, long enough.\n  - Inner a. With two.",
        "- Inner b. With two.\n  - Inner c. With two.",
    ]


def test_a_text_that_fits_is_one_passage() -> None:
    (passage,) = markdown("Just a line.\n\nAnd another.\n")
    assert passage.text == "Just a line.\n\nAnd another."
    assert (passage.page, passage.heading, passage.tokens) == (None, "", 7)


def test_sections_are_not_mixed_and_carry_their_path() -> None:
    body = " ".join(f"w{number}" for number in range(12)) + "."
    text = f"# Guide\n\n## Install\n\n{body}\n\n### Linux\n\n{body}\n\n## Use\n\n{body}\n"
    passages = markdown(text, tokens=24)
    assert [passage.heading for passage in passages] == ["Guide > Install", "Guide > Install > Linux", "Guide > Use"]
    assert passages[0].text.startswith("# Guide\n\n## Install")
    assert passages[1].text.startswith("### Linux")


def test_small_sections_are_joined() -> None:
    passages = markdown("# A\n\none\n\n# B\n\ntwo\n", tokens=32)
    assert [(passage.text, passage.heading) for passage in passages] == [("# A\n\none\n\n# B\n\ntwo", "A")]


def test_paragraphs_are_kept_whole_where_they_fit() -> None:
    first, second = "a " * 9 + "end.", "b " * 9 + "end."
    assert [passage.text for passage in markdown(f"{first}\n\n{second}")] == [first, second]


def test_long_paragraphs_are_cut_between_sentences() -> None:
    sentences = [f"Sentence number {number} is here, e.g. now." for number in range(4)]
    passages = markdown(" ".join(sentences))
    assert [passage.text for passage in passages] == sentences


def test_long_sentences_are_cut_between_words() -> None:
    passages = markdown(" ".join(["word"] * 40))
    assert [passage.tokens for passage in passages] == [16, 16, 8]


def test_a_word_without_end_is_cut_between_tokens() -> None:
    passages = split(Document("x" * 50), "a", SplitSpec(tokens=16, overlap=0), characters)
    assert [len(passage.text) for passage in passages] == [16, 16, 16, 2]


def test_neighbours_share_whole_words_up_to_the_overlap() -> None:
    text = " ".join(f"w{number}" for number in range(40))
    passages = markdown(text, overlap=4)
    for before, after in itertools.pairwise(passages):
        shared = text[after.start : before.end].split()
        assert len(shared) == 4
        assert before.text.split()[-4:] == after.text.split()[:4] == shared


def test_an_overlap_never_begins_inside_a_word() -> None:
    text = " ".join("abcdefghij" for _ in range(12))
    passages = split(Document(text), "a", SplitSpec(tokens=33, overlap=15), characters)
    assert len(passages) > 2
    assert all(passage.start == 0 or text[passage.start - 1] == " " for passage in passages)


def test_pages_are_those_of_the_first_character() -> None:
    text = "one. " * 10 + "\n\n" + "two. " * 10
    passages = split(Document(text, pages=(Page(1, 0), Page(2, 52))), "a", SplitSpec(tokens=20, overlap=0), words)
    assert [(passage.page, passage.text[:3]) for passage in passages] == [(1, "one"), (2, "two")]


def test_ids_depend_on_content_and_place_only() -> None:
    (one,) = markdown("Same text.")
    (again,) = markdown("Same text.")
    (moved,) = markdown("\n\nSame text.")
    assert one.id == again.id != moved.id
    assert re.fullmatch("[0-9a-f]{16}", one.id)


def test_long_texts_are_tokenised_in_pieces() -> None:
    sizes = []

    def counted(text: str) -> list[tuple[int, int]]:
        sizes.append(len(text))
        return words(text)

    text = "A line of several words.\n" * 20_000
    table = TokenTable(text, counted)
    assert max(sizes) <= 65_536
    assert sum(sizes) == len(text)
    assert list(table.starts) == [start for start, _ in words(text)]


@pytest.mark.parametrize("limit", [16, 17])
def test_characters_of_several_tokens_stay_whole(limit: int) -> None:
    passages = split(Document("🙂" * 30), "a", SplitSpec(tokens=limit, overlap=8), characters)
    assert all(passage.tokens <= limit for passage in passages)
    assert all(set(passage.text) == {"🙂"} for passage in passages)


def test_long_headings_do_not_multiply_in_the_passages_below() -> None:
    title = "word and more. " * 2000
    text = f"{title}\n\n" + "body of the page. " * 2000
    passages = split(Document(text, (Heading(1, title, 0, len(title)),)), "a.html", SplitSpec(), words)
    assert len(passages) > 50
    assert all(passage.heading.startswith("word and more.") and len(passage.heading) <= 300 for passage in passages)


def test_of_deeply_nested_headings_the_innermost_are_told() -> None:
    text = "word " * 20_000
    nested = tuple(Heading(level, f"heading {level}", 20 * level, 20 * level) for level in range(1, 4000))
    last = split(Document(text, nested), "a.pdf", SplitSpec(), words)[-1]
    assert last.heading.startswith("… > ")
    assert last.heading.endswith("heading 3998 > heading 3999")
    assert len(last.heading) < 1010


def test_long_titles_of_records_do_not_multiply() -> None:
    record = Record("r", 0, "t" * 5000)
    passages = split(Document("word " * 2000, records=(record,)), "a.jsonl", SplitSpec(), words)
    assert {len(passage.heading) for passage in passages} == {300}
