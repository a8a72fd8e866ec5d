"""The bytes that the tokens of a tokenizer write, and its reading of a text that continues another one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from ragdecode.errors import InputError

if TYPE_CHECKING:
    import tokenizers

#: How tokenizers of the SentencePiece kind write a byte that has no piece.
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
#: Stands for a space in their pieces.
_SPACE = "\u2581"


class TokenBytes:
    """A tokenizer as bytes in, ids out: what drafting with another vocabulary needs (``decoding.vocabulary.Codec``).

    Args:
        fast: The tokenizer.
        control: Ids of control tokens, which write nothing.
    """

    def __init__(self, fast: tokenizers.Tokenizer, control: Collection[int]) -> None:
        self._fast = fast
        self._control = frozenset(control)

    @cached_property
    def tokens(self) -> Sequence[bytes | None]:
        """The bytes that each id writes in the middle of a text; None for control tokens and unused ids [V].

        Raises:
            InputError: The tokenizer's decoder is neither of the byte-level nor of the SentencePiece kind.
        """
        kinds = _kinds(self._setup.get("decoder"))
        added = {id_: token.content for id_, token in self._fast.get_added_tokens_decoder().items()}
        pieces = self._fast.get_vocab(with_added_tokens=True)
        table: list[bytes | None] = [None] * (1 + max(pieces.values(), default=-1))
        if "ByteLevel" in kinds:
            read: Callable[[str], bytes | None] = partial(_of_byte_level, spelling=_byte_level())
        elif kinds & {"ByteFallback", "Metaspace"}:
            read = _of_sentence_piece
        else:
            raise InputError(
                f"a tokenizer that decodes with {', '.join(sorted(kinds)) or 'nothing'} does not tell which bytes its "
                "tokens write; drafting with another vocabulary and some constraints need them",
                hint="take a model with a byte-level BPE or SentencePiece tokenizer",
            )
        for piece, id_ in pieces.items():
            if id_ not in self._control:
                table[id_] = added[id_].encode() if id_ in added else read(piece)
        return table

    def encode(self, text: str) -> list[int]:
        """Ids of a text that continues another one: nothing is put before it, control tokens are plain text."""
        ids: list[int] = self._continuing.encode(text, add_special_tokens=False).ids
        return ids

    @cached_property
    def _setup(self) -> Mapping[str, Any]:
        setup: Mapping[str, Any] = json.loads(self._fast.to_str())
        return setup

    @cached_property
    def _continuing(self) -> tokenizers.Tokenizer:
        """The tokenizer without the space that some put before a text."""
        from tokenizers import Tokenizer

        fast = Tokenizer.from_str(json.dumps({**self._setup, **_without_prefix(self._setup)}))
        fast.encode_special_tokens = True
        return fast


def _parts(component: Any) -> list[Mapping[str, Any]]:
    """A component of the tokenizer, its sequences laid flat."""
    if not component:
        return []
    if component.get("type") != "Sequence":
        return [component]
    inner: list[Any] = next(
        (component[key] for key in ("decoders", "normalizers", "pretokenizers") if key in component), []
    )
    return [part for item in inner for part in _parts(item)]


def _kinds(component: Any) -> set[str]:
    return {part["type"] for part in _parts(component)}


def _without_prefix(setup: Mapping[str, Any]) -> dict[str, Any]:
    """Normaliser and pre-tokenizer that add nothing at the beginning."""
    found: dict[str, Any] = {}
    for name, key in (("normalizer", "normalizers"), ("pre_tokenizer", "pretokenizers")):
        kept = []
        for part in _parts(setup.get(name)):
            if part["type"] == "Prepend":
                continue
            changed = dict(part)
            if part["type"] == "Metaspace":
                changed["prepend_scheme"] = "never"
                changed.pop("add_prefix_space", None)
            elif part["type"] == "ByteLevel":
                changed["add_prefix_space"] = False
            kept.append(changed)
        found[name] = {"type": "Sequence", key: kept} if kept else None
    return found


def _byte_level() -> dict[str, int]:
    """The characters that stand for bytes in byte-level pieces (GPT-2)."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + place): byte for place, byte in enumerate(hidden)}


def _of_byte_level(piece: str, spelling: Mapping[str, int]) -> bytes | None:
    try:
        return bytes(spelling[character] for character in piece)
    except KeyError:
        return None


def _of_sentence_piece(piece: str) -> bytes:
    if (match := _BYTE.fullmatch(piece)) is not None:
        return bytes([int(match[1], 16)])
    return piece.replace(_SPACE, " ").encode("utf-8", "surrogatepass")
