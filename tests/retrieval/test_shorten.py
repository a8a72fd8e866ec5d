from __future__ import annotations

from collections.abc import Sequence

from ragdecode.documents.passage import Passage
from ragdecode.retrieval.shorten import first_sentences


def passage(text: str) -> Passage:
    return Passage("p", text, "a.txt", None, "", 0, len(text), 0)


def test_as_many_sentences_as_fit_and_no_more() -> None:
    texts = ["One two three. " * 9, "One two. Three.", "One two three four five six."]
    count = lambda asked: [len(text.split()) for text in asked]  # noqa: E731
    short = first_sentences([passage(text) for text in texts], [7, 3, 5], count)
    assert [one.text if one else None for one in short] == ["One two three. One two three.", "One two. Three.", None]
    assert first_sentences([], [], count) == []
    assert first_sentences([passage("  ")], [5], count) == [None]


def test_texts_of_thousands_of_sentences_are_counted_a_few_times_not_once_a_sentence() -> None:
    read = 0

    def count(texts: Sequence[str]) -> list[int]:
        nonlocal read
        read += sum(map(len, texts))
        return [len(text.split()) for text in texts]

    text = "This is a sentence. " * 5000
    (short,) = first_sentences([passage(text)], [100], count)
    assert short is not None
    assert short.text == " ".join(["This is a sentence."] * 25)
    assert read < 3 * len(text)


def test_a_text_does_not_end_within_a_name() -> None:
    count = lambda asked: [len(text.split()) for text in asked]  # noqa: E731
    (short,) = first_sentences([passage("He came. It was Dr. Smith who said so.")], [5], count)
    assert short is not None
    assert short.text == "He came."
