"""A model's tokenizer: text to ids and back, nothing added, nothing cleaned up."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdecode.errors import InputError, RunError
from ragdecode.models.chat_template import Message, render_chat_template
from ragdecode.models.token_bytes import TokenBytes

if TYPE_CHECKING:
    import tokenizers

#: Zero-width space, word joiner, zero-width no-break space, soft hyphen: nothing to see.
_BREAKS = ("\u200b", "\u2060", "\ufeff", "\u00ad")
_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class Tokenizer:
    """Reads ``tokenizer.json`` and the chat template of a model folder, without loading a framework.

    Control tokens are those that the tokenizer marks as special, and those that the chat template writes.

    Attributes:
        path: The model folder.
        vocab_size: One more than the largest id.
        special_tokens: Control tokens, text to id.
        chat_template: Jinja source, or None.
        named_tokens: ``bos_token``, ``eos_token`` and the like, as the model names them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._exact = self._read()
        self._config = _read_json(path / "tokenizer_config.json")
        self.chat_template = _chat_template(path, self._config)
        self.named_tokens = _named_tokens(path, self._config)
        vocabulary = self._exact.get_vocab(with_added_tokens=True)
        self.vocab_size = 1 + max(vocabulary.values(), default=-1)
        self.special_tokens: dict[str, int] = {
            token.content: id_
            for id_, token in sorted(self._exact.get_added_tokens_decoder().items())
            if token.special or (token.content.strip() and token.content in (self.chat_template or ""))
        }
        self._special_ids = frozenset(self.special_tokens.values())
        self._pieces = vocabulary

    def _read(self) -> tokenizers.Tokenizer:
        from tokenizers import Tokenizer as Fast

        file = self.path / "tokenizer.json"
        if not file.is_file():
            raise InputError(
                f"{self.path} has no tokenizer.json",
                hint="write one with transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
            )
        try:
            fast = Fast.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise RunError(f"{file} cannot be read: {error}") from error
        fast.no_truncation()
        fast.no_padding()
        return fast

    @cached_property
    def _plain(self) -> tokenizers.Tokenizer:
        fast = self._read()
        fast.encode_special_tokens = True
        return fast

    @cached_property
    def codec(self) -> TokenBytes:
        """The tokenizer as bytes, for a comparison with others."""
        return TokenBytes(self._exact, self._special_ids)

    @property
    def fast(self) -> tokenizers.Tokenizer:
        """The tokenizer underneath; not to be changed."""
        return self._exact

    def encode(self, text: str, special: bool) -> list[int]:
        """Ids of ``text``; nothing is added.

        Args:
            text: Any string.
            special: Control tokens written in the text become their ids; otherwise they are plain text, so that
                untrusted text cannot open or close a turn.
        """
        if special:
            ids: list[int] = self._exact.encode(text, add_special_tokens=False).ids
            return ids
        ids = self._plain.encode(text, add_special_tokens=False).ids
        if self._special_ids.isdisjoint(ids) or not any(token in text for token in self.special_tokens):
            return ids
        # some vocabularies spell control tokens as ordinary pieces
        ids = self._plain.encode(self.neutralise(text), add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ``ids`` without control tokens, spaces as they are."""
        return str(self._exact.decode(list(ids), skip_special_tokens=True))

    def token_text(self, id_: int) -> str:
        """Text of one token for showing, control tokens included; parts of a character show as ``\ufffd``."""
        text = str(self._exact.decode([id_], skip_special_tokens=False))
        piece = self._exact.id_to_token(id_) or ""
        # a decoder of this kind drops the first space of what it is given
        return " " + text if piece.startswith("\u2581") and not text.startswith(" ") else text

    def neutralise(self, text: str) -> str:
        """``text`` with every control token broken by a zero-width space after its first character.

        What comes out may be put into a prompt that is encoded with ``special=True``.
        """
        if self._control is None:
            return text
        # again, because tokens can overlap; it ends, because no token holds the character that is put in
        while self._control.search(text):
            text = self._control.sub(lambda match: match[0][:1] + self._break + match[0][1:], text)
        return text

    @cached_property
    def _break(self) -> str:
        return next(mark for mark in _BREAKS if not any(mark in token for token in self.special_tokens))

    @cached_property
    def _control(self) -> re.Pattern[str] | None:
        # a one-character token cannot be broken
        tokens = sorted((token for token in self.special_tokens if len(token) > 1), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, tokens))) if tokens else None

    @property
    def max_length(self) -> int | None:
        """Longest input that the tokenizer's settings allow, in tokens; None if they do not limit it."""
        length = self._config.get("model_max_length")
        # "no limit" is written as a huge number
        return length if isinstance(length, int) and 0 < length < 1 << 30 else None

    @property
    def has_chat_template(self) -> bool:
        """Whether the model brings a chat template."""
        return self.chat_template is not None

    def render_chat(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> str:
        """The prompt string of a conversation.

        Contents are put in as they are: neutralise what cannot be trusted.

        Raises:
            InputError: The model has no chat template, or it refuses these messages.
        """
        if self.chat_template is None:
            raise InputError(
                f"the model in {self.path} has no chat template", hint="use an instruct model, or a plain prompt"
            )
        return render_chat_template(
            self.chat_template,
            messages,
            add_generation_prompt=add_generation_prompt,
            special_tokens=self.named_tokens,
        )

    @cached_property
    def end_of_turn(self) -> int | None:
        """The control token with which the chat template closes the assistant's turn, if it does."""
        mark = "ragdecode7f3a"
        try:
            text = self.render_chat(
                [{"role": "user", "content": "a"}, {"role": "assistant", "content": mark}],
                add_generation_prompt=False,
            )
        except InputError:
            return None
        _, found, rest = text.rpartition(mark)
        for id_ in self.encode(rest.lstrip(), special=True)[:1] if found else []:
            if id_ in self._special_ids:
                return id_
        return None

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the table of ids and pieces: 16 hexadecimal digits."""
        table = sorted((id_, piece) for piece, id_ in self._pieces.items())
        return hashlib.sha256(json.dumps(table).encode()).hexdigest()[:16]


def _read_json(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError as error:
        raise RunError(f"{file} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise RunError(f"{file} cannot be read: expected a mapping")
    return data


def _chat_template(path: Path, config: Mapping[str, Any]) -> str | None:
    file = path / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _named_tokens(path: Path, config: Mapping[str, Any]) -> dict[str, str]:
    merged = {**_read_json(path / "special_tokens_map.json"), **config}
    found = {}
    for name in _NAMED:
        value = merged.get(name)
        if isinstance(value, dict):
            value = value.get("content")
        if isinstance(value, str):
            found[name] = value
    return found
