"""Token datastore: the corpus as token ids, for drafters that guess how an answer goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragdecode.errors import InputError
from ragdecode.indexing.store import Built, Need
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.indexing.passages import PassageTable
    from ragdecode.indexing.store import BuildContext, Encoders
    from ragdecode.indexing.tokens.datastore import TokenDatastore

#: characters of a token, on the low side
_CHARACTERS = 3


class TokensSettings(Settings):
    """The token datastore has no settings: how it is searched is a matter of the drafter."""


@register("store", "tokens", TokensSettings)
class TokensStore:
    """The corpus as token ids in suffix arrays, for the drafter `datastore`; it finds no passages."""

    finds_passages = False

    def __init__(self, settings: TokensSettings) -> None:
        self.settings = settings

    def build(self, passages: PassageTable, folder: Path, context: BuildContext) -> Built:
        """Tokenise documents that are new, and sort their suffixes.

        Raises:
            InputError: The build was given no tokenizer.
        """
        from ragdecode.indexing.tokens.building import build
        from ragdecode.indexing.tokens.shard import id_type
        from ragdecode.indexing.tokens.texts import documents

        tokenizer = context.tokenizer() if context.tokenizer else None
        if tokenizer is None:
            raise InputError("the store 'tokens' needs a tokenizer", hint="give build_index(tokenizer=...)")
        before = context.previous
        same = before is not None and before.facts.get("tokenizer") == tokenizer.fingerprint
        done = 0

        def texts() -> Any:
            nonlocal done
            for passage in passages:
                yield passage
                done += 1
                if done % 1000 == 0 or done == len(passages):
                    context.progress("tokens", done, len(passages))

        totals = build(documents(texts()), folder, tokenizer, before.folder if before and same else None)
        facts = {
            "tokenizer": tokenizer.fingerprint,
            "id_bytes": id_type(tokenizer.vocab_size).itemsize,
            "documents": totals.documents,
            "tokens": totals.tokens,
        }
        known = totals.documents - totals.fresh
        taken = f", {known} documents taken over" if known else ""
        what = f"{totals.tokens} tokens of {totals.documents} documents in {totals.shards} shards{taken}"
        return Built(facts, what)

    def need(self, passages: int, characters: int, encoders: Encoders) -> Need:
        """Id and suffix of each token on disk; what sorting one shard takes in memory."""
        from ragdecode.indexing.tokens.building import LARGE
        from ragdecode.indexing.tokens.suffix_array import BYTES_PER_TOKEN

        tokens = characters // _CHARACTERS
        return Need(8 * tokens, BYTES_PER_TOKEN * min(tokens, 2 * LARGE))

    def current(self, facts: Mapping[str, Any], encoders: Encoders) -> bool:
        """Always: another tokenizer makes another index."""
        return True

    def open(self, folder: Path, facts: Mapping[str, Any], encoders: Encoders) -> TokenDatastore:
        """Map the shards."""
        from ragdecode.indexing.tokens.datastore import TokenDatastore

        return TokenDatastore.open(folder, dict(facts), folder.parents[2])
