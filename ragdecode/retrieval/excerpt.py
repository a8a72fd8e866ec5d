"""Parts of a passage, with their places in the document, so that a citation can still point at them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ragdecode.documents.passage import Passage
from ragdecode.text.sentences import sentence_spans

#: the attribute that names the kept parts: ``start-end`` in the document's text, with blanks between parts
KEPT = "kept"
#: what stands between parts that are not neighbours
ELISION = " … "
Span = tuple[int, int]


def kept_spans(passage: Passage) -> list[Span]:
    """The parts of the document that the passage shows, as offsets into the document's text, in order.

    A record may have a field of the name `KEPT` itself: what does not describe the text is not ours.
    """
    written = passage.attributes.get(KEPT)
    if isinstance(written, str) and re.fullmatch(r"\d{1,18}-\d{1,18}( \d{1,18}-\d{1,18})*", written, re.ASCII):
        spans = [(int(start), int(end)) for start, end in (part.split("-") for part in written.split(" "))]
        length = sum(end - start for start, end in spans) + len(ELISION) * (len(spans) - 1)
        if length == len(passage.text) and all(start < end for start, end in spans):
            return spans
    return [(passage.start, passage.start + len(passage.text))]


def sentences(passage: Passage) -> list[Span]:
    """Sentences of a passage as offsets into its text, without the blanks around them.

    They do not cross paragraphs, nor the gaps of an excerpt.
    """
    return [
        span
        for offset, (start, end) in _pieces(passage)
        for span in sentence_spans(passage.text, offset, offset + end - start)
    ]


def excerpt(passage: Passage, parts: Sequence[Span]) -> Passage:
    """The passage with only some parts of its text, `ELISION` between parts that are not neighbours.

    Id and place stay; the attribute `KEPT` says where the parts stand in the document, so that the text is always
    the document's at these places, joined by `ELISION`.

    Args:
        passage: The passage, itself perhaps an excerpt.
        parts: Offsets into its text, in order, none overlapping. An excerpt's own marks of gaps are no text.
    """
    shown: list[tuple[Span, Span]] = []  # in the passage's text, in the document's
    for offset, (start, end) in _pieces(passage):
        own: list[Span] = []
        for part in parts:
            first, last = max(part[0], offset), min(part[1], offset + end - start)
            if first >= last:
                continue
            if own and not passage.text[own[-1][1] : first].strip():
                own[-1] = (own[-1][0], last)
            else:
                own.append((first, last))
        shown += [((first, last), (start + first - offset, start + last - offset)) for first, last in own]
    text = ELISION.join(passage.text[first:last] for (first, last), _ in shown)
    if text == passage.text:
        return passage
    kept = " ".join(f"{start}-{end}" for _, (start, end) in shown)
    return replace(passage, text=text, attributes={**passage.attributes, KEPT: kept})


def _pieces(passage: Passage) -> list[tuple[int, Span]]:
    """Offset in the passage's text and place in the document of each of its parts."""
    found = []
    offset = 0
    for start, end in kept_spans(passage):
        found.append((offset, (start, end)))
        offset += end - start + len(ELISION)
    return found


def overlap(one: Passage, other: Passage) -> float:
    """Share of the shorter passage's characters that both show of the same document; 0 to 1.

    Only where both show the same text is it the same place: passages of other programs may not know their offsets.
    """
    if (one.source, one.record) != (other.source, other.record):
        return 0.0
    common = 0
    for mine, (start, end) in _pieces(one):
        for theirs, (first, last) in _pieces(other):
            low, high = max(start, first), min(end, last)
            if (
                low < high
                and one.text[mine + low - start : mine + high - start]
                == (other.text[theirs + low - first : theirs + high - first])
            ):
                common += high - low
    shorter = min(sum(end - start for start, end in kept_spans(passage)) for passage in (one, other))
    return common / shorter if shorter else 0.0
