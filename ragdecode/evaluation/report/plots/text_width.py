"""How wide a text is at most, without a font at hand: so that labels get the room they need."""

from __future__ import annotations

import unicodedata

#: advance widths of Helvetica in thousandths of the size, from the space to the tilde
_HELVETICA = (
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278,
    556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556,
    1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556,
    333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556,
    556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
)  # fmt: skip
#: The widest common interface fonts (Verdana, DejaVu Sans) are wider than Helvetica by up to so much.
_WIDEST = 1.2
_OTHER, _WIDE = 667, 1000


def text_width(text: str, size: float) -> float:
    """Upper estimate of a text's width in the common interface fonts.

    Args:
        text: One line.
        size: Font size; the width has its unit.
    """
    return sum(_advance(character) for character in text) * _WIDEST * size / 1000


def shortened(text: str, room: float, size: float) -> str:
    """The text, cut with an ellipsis where it is wider than the room."""
    if text_width(text, size) <= room:
        return text
    left = room - text_width("…", size)
    kept = ""
    for character in text:
        left -= text_width(character, size)
        if left < 0:
            break
        kept += character
    return kept.rstrip() + "…"


def _advance(character: str) -> int:
    code = ord(character)
    if 32 <= code < 127:
        return _HELVETICA[code - 32]
    if unicodedata.combining(character):
        return 0
    return _WIDE if unicodedata.east_asian_width(character) in "WF" else _OTHER
