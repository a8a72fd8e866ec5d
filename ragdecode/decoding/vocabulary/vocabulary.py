"""A vocabulary as byte strings: the common ground of two tokenizers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property

from ragdecode.decoding.vocabulary.codec import Codec
from ragdecode.decoding.vocabulary.utf8 import complete


class Vocabulary:
    """The tokens of a tokenizer, compared by the bytes that they write.

    Pieces are spelt in many ways (a space is ``▁`` here and ``Ġ`` there, a byte may be ``<0x0A>``); bytes are not.

    Args:
        codec: The tokenizer.
        size: Ids that the model knows, if those are fewer.

    Attributes:
        tokens: The bytes of each id, None for control tokens and unused ids [V].
    """

    def __init__(self, codec: Codec, size: int | None = None) -> None:
        self._codec = codec
        self.tokens: Sequence[bytes | None] = codec.tokens[:size]

    def write(self, ids: Iterable[int]) -> bytes:
        """The bytes of tokens; control tokens and ids beyond the table write nothing."""
        size, tokens = len(self.tokens), self.tokens
        return b"".join((tokens[id_] or b"") if id_ < size else b"" for id_ in ids)

    def writes(self, id_: int) -> bytes | None:
        """The bytes of one token; None for control tokens and ids beyond the table."""
        return self.tokens[id_] if id_ < len(self.tokens) else None

    @cached_property
    def ids(self) -> dict[bytes, int]:
        """The id that writes given bytes.

        Where several do, the last one: byte-fallback pieces come before ordinary ones, and added tokens, which
        tokenizers prefer, after them.
        """
        return {token: id_ for id_, token in enumerate(self.tokens) if token}

    def read(self, text: bytes) -> list[int] | None:
        """Tokens that write exactly ``text`` in the middle of a text; None if the vocabulary cannot.

        The tokenizer reads whole characters. What it would change (some normalise) and a last character of which
        bytes are missing are spelt with the longest tokens that fit.
        """
        whole = complete(text)
        try:
            ids = self._codec.encode(text[:whole].decode()) if whole else []
        except UnicodeDecodeError:
            return self._spell(text)
        if self.write(ids) != text[:whole]:
            return self._spell(text)
        rest = self._spell(text[whole:])
        return None if rest is None else [*ids, *rest]

    def may_grow(self, id_: int) -> bool:
        """Whether a longer token begins with the bytes of this one, so that more text might change it."""
        token = self.writes(id_)
        if not token:
            return False
        place = bisect_right(self._sorted, token)
        return place < len(self._sorted) and self._sorted[place].startswith(token)

    @cached_property
    def _sorted(self) -> list[bytes]:
        return sorted(self.ids)

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.ids), default=0)

    def _spell(self, text: bytes) -> list[int] | None:
        """Longest tokens first, from the left; None where no token fits."""
        spelt: list[int] = []
        at = 0
        while at < len(text):
            for size in range(min(self._longest, len(text) - at), 0, -1):
                id_ = self.ids.get(text[at : at + size])
                if id_ is not None:
                    break
            else:
                return None
            spelt.append(id_)
            at += size
        return spelt
