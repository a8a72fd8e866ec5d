"""The documents of an index, put together again from its passages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ragdecode.documents.passage import Passage


def documents(passages: Iterable[Passage]) -> Iterator[str]:
    """The text of each document or record, in order: its passages without what they share.

    An index keeps passages, not documents; but they hold every character of a document that is no white space, and
    know where they stand. What was between two passages is a break between paragraphs where there is room for one.
    """
    return (text for _, _, text in placed(passages))


def placed(passages: Iterable[Passage]) -> Iterator[tuple[str, str, str]]:
    """The same with file and record of each document: (source, record, text)."""
    parts: list[str] = []
    last: Passage | None = None
    end = 0
    for passage in passages:
        if last is None or _begins(last, passage):
            if last is not None:
                yield last.source, last.record, "".join(parts)
            parts, end = [passage.text], passage.end
        else:
            gap = passage.start - end
            parts.append(_white(gap, last, passage) if gap > 0 else "")
            parts.append(passage.text[max(0, -gap) :])
            end = max(end, passage.end)
        last = passage
    if last is not None:
        yield last.source, last.record, "".join(parts)


def _begins(last: Passage, passage: Passage) -> bool:
    """Whether another document begins."""
    return (last.source, last.record) != (passage.source, passage.record) or passage.start < last.start


def _white(gap: int, last: Passage, passage: Passage) -> str:
    """White space of a length, of which only the length is known."""
    if gap > 1:
        return "\n\n"
    return " " if last.heading == passage.heading else "\n"
