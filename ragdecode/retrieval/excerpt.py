"""Parts of a passage, with their places in the document, so that a citation can still point at them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ragdecode.documents.boundaries import pieces
from ragdecode.documents.passage import Passage

#: the attribute that names the kept parts: ``start-end`` in the document's text, with blanks between parts
KEPT = "kept"
#: what stands between parts that are not neighbours
ELISION = " … "
#: levels of `boundaries`: paragraphs, sentences
_PARAGRAPH, _SENTENCE = 0, 1
Span = tuple[int, int]


def sentences(text: str) -> list[Span]:
    """Sentences of a text as offsets, without the blanks around them; they do not cross paragraphs."""
    found = []
    for first, behind in pieces(text, 0, len(text), _PARAGRAPH):
        for start, end in pieces(text, first, behind, _SENTENCE):
            core = text[start:end].strip()
            if core:
                lead = len(text[start:end]) - len(text[start:end].lstrip())
                found.append((start + lead, start + lead + len(core)))
    return found


def kept_spans(passage: Passage) -> list[Span]:
    """The parts of the document that the passage shows, as offsets into the document's text, in order."""
    written = passage.attributes.get(KEPT)
    if not isinstance(written, str) or re.fullmatch(r"\d+-\d+( \d+-\d+)*", written) is None:
        return [(passage.start, passage.start + len(passage.text))]
    return [(int(start), int(end)) for start, end in (part.split("-") for part in written.split(" "))]


def excerpt(passage: Passage, parts: Sequence[Span]) -> Passage:
    """The passage with only some parts of its text, `ELISION` between parts that are not neighbours.

    Id and place stay; the attribute `KEPT` says where the parts stand in the document.

    Args:
        passage: The passage, itself perhaps an excerpt.
        parts: Offsets into its text, in order, none overlapping; at least one.
    """
    merged = [parts[0]]
    for part in parts[1:]:
        if passage.text[merged[-1][1] : part[0]].isspace() or part[0] == merged[-1][1]:
            merged[-1] = (merged[-1][0], part[1])
        else:
            merged.append(part)
    spans = [span for part in merged for span in _in_document(passage, part)]
    text = ELISION.join(passage.text[start:end] for start, end in merged)
    if text == passage.text:
        return passage
    return replace(
        passage,
        text=text,
        attributes={**passage.attributes, KEPT: " ".join(f"{start}-{end}" for start, end in spans)},
    )


def _in_document(passage: Passage, part: Span) -> list[Span]:
    """Where a part of the passage's text stands in the document: more than one place if it holds an elision."""
    found = []
    offset = 0  # of the span in the passage's text
    for start, end in kept_spans(passage):
        first, behind = max(part[0], offset), min(part[1], offset + end - start)
        if first < behind:
            found.append((start + first - offset, start + behind - offset))
        offset += end - start + len(ELISION)
    return found


def overlap(one: Passage, other: Passage) -> float:
    """Share of the shorter passage's characters that both show of the same document; 0 to 1."""
    if (one.source, one.record) != (other.source, other.record):
        return 0.0
    mine, theirs = kept_spans(one), kept_spans(other)
    common = sum(max(0, min(a[1], b[1]) - max(a[0], b[0])) for a in mine for b in theirs)
    shorter = min(sum(end - start for start, end in spans) for spans in (mine, theirs))
    return common / shorter if shorter else 0.0
