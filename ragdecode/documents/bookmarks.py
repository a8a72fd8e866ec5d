"""Bookmarks of a paged document as headings: each at its words on its page, else at the head of the page."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ragdecode.documents.document import Heading

#: more bookmarks than any book has
_MOST = 10_000
#: characters of a page in which the words of a bookmark are looked for
_REACH = 20_000
_NUMBER = re.compile(r"^(?:(?:chapter|section|part|appendix)\s+)?[\dA-Z]{1,3}(?:\.\d+)*[.:)]?\s+(?=\S)", re.IGNORECASE)


def placed(
    bookmarks: Sequence[tuple[int, str, int]], texts: Sequence[str], offsets: Sequence[int]
) -> tuple[Heading, ...]:
    """Headings at the places that bookmarks lead to, in the order of the text.

    Args:
        bookmarks: Level from 1, words, and page from 0, in their own order.
        texts: Text of each page.
        offsets: Where each page begins in the document's text.

    Returns:
        One heading a bookmark. One whose words are not found stands, without any characters of its own, where its
        page begins, or behind the bookmark before it on the same page.
    """
    headings: list[Heading] = []
    behind = dict.fromkeys(range(len(texts)), 0)  # on each page, where the last heading ends
    order = sorted(range(len(bookmarks[:_MOST])), key=lambda number: bookmarks[number][2])  # stable
    for level, words, page in (bookmarks[number] for number in order):
        if page >= len(texts):
            continue
        start, end = _find(words, texts[page], behind[page])
        headings.append(Heading(level, words, offsets[page] + start, offsets[page] + end))
        behind[page] = end
    return tuple(headings)


def _find(words: str, text: str, first: int) -> tuple[int, int]:
    """Where the words stand as lines of their own, else at the start of a line; else nothing at ``first``."""
    reach = min(len(text), first + _REACH)
    for wanted in dict.fromkeys((words, _NUMBER.sub("", words))):
        letters = [re.escape(letter) for letter in wanted[:200] if letter.isalnum()]
        if not letters:
            continue
        # extraction from PDF loses and adds spaces and marks between letters
        line = r"^[\W_\d]{0,12}?" + r"[\W_]{0,4}".join(letters) + r"[^\w\n]{0,8}(?:$|(?P<more>.))"
        for flags in (re.MULTILINE, re.MULTILINE | re.IGNORECASE):  # running titles are often in capitals
            matches = list(re.compile(line, flags).finditer(text, first, reach))
            match = next((one for one in matches if not one["more"]), matches[0] if matches else None)
            if match:
                return match.start(), match.start("more") if match["more"] else match.end()
    return first, first
