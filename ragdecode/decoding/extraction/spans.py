"""The spans of passages as a trie of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ragdecode.decoding.grammar.quoting import WORDS, Boundaries
from ragdecode.decoding.vocabulary.vocabulary import Vocabulary

#: Characters that a token of a passage takes at most, on average over a span; only bounds what is tokenised.
_CHARACTERS = 12


@dataclass(frozen=True)
class Place:
    """Where a span stands.

    Attributes:
        passage: Place of its passage, from 0.
        start: Its first character.
        end: One behind its last.
    """

    passage: int
    start: int
    end: int


@dataclass
class Node:
    """A beginning of spans.

    Attributes:
        tokens: The tokens down to here.
        children: What follows in some passage.
        places: Where spans stand that end here; none if none does.
        longest: Tokens of the longest span that begins so.
    """

    tokens: tuple[int, ...] = ()
    children: dict[int, Node] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)
    longest: int = 0


def span_trie(
    passages: Sequence[str], vocabulary: Vocabulary, *, longest: int, boundaries: Boundaries = "words", lead: str = ""
) -> Node:
    """All spans of the passages as token strings; equal ones at several places are one.

    A span has the tokens that the tokenizer reads from its first character on, so that it looks as it would at the
    beginning of an answer, not as it stands in the prompt.

    Args:
        passages: Texts of the passages.
        vocabulary: The tokens as bytes.
        longest: Most tokens of a span.
        boundaries: Whether spans begin and end at words, or at any character where a token does.
        lead: What stands between the prompt and the span: a blank, or nothing.
    """
    root = Node()
    for passage, text in enumerate(passages):
        starts, ends = _boundaries(text, boundaries)
        cuts = sorted(ends)
        for start in starts:
            window = _window(text, start, cuts, longest * _CHARACTERS)
            for tokens, end in _read(lead, window, vocabulary, longest):
                place = start + end
                if place > start and place in ends:  # a blank alone may be a token
                    _add(root, tokens, Place(passage, start, place))
    return root


def _boundaries(text: str, boundaries: Boundaries) -> tuple[list[int], frozenset[int]]:
    """Where spans may begin and end: at what is not blank."""
    if boundaries == "characters":
        inked = [index for index, character in enumerate(text) if not character.isspace()]
        return inked, frozenset(index + 1 for index in inked)
    words = [match for match in WORDS.finditer(text) if not match[0].isspace()]
    return [match.start() for match in words], frozenset(match.end() for match in words)


def _window(text: str, start: int, cuts: Sequence[int], size: int) -> str:
    """The text from a place on, cut behind a whole word."""
    from bisect import bisect_right

    last = bisect_right(cuts, start + size) - 1
    return text[start : max(cuts[last], start + 1)] if last >= 0 else text[start : start + size]


def _read(lead: str, window: str, vocabulary: Vocabulary, longest: int) -> Iterator[tuple[tuple[int, ...], int]]:
    """Each beginning of the reading of a text: its tokens, and the characters of the text that it covers."""
    try:
        ids = vocabulary.read((lead + window).encode())
    except UnicodeEncodeError:  # half of a pair
        return
    written, covered = b"", 0
    for count, token in enumerate(ids[:longest] if ids else (), start=1):
        assert ids is not None
        written += vocabulary.writes(token) or b""
        try:
            covered = len(written.decode()) - len(lead)
        except UnicodeDecodeError:  # the token ends within a character
            continue
        yield tuple(ids[:count]), covered


def _add(root: Node, tokens: tuple[int, ...], place: Place) -> None:
    node = root
    node.longest = max(node.longest, len(tokens))
    for depth, token in enumerate(tokens, start=1):
        node = node.children.setdefault(token, Node(tokens[:depth]))
        node.longest = max(node.longest, len(tokens))
    node.places.append(place)
