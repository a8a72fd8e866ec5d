"""A reader, a store, a retriever and a fusion."""

from __future__ import annotations

import json

from ragdecode.documents.document import Document
from ragdecode.indexing.store import Built, Need
from ragdecode.spec.registry import register


@register("reader", "acme")
class AcmeReader:
    """Reads .acme files, which are written backwards."""

    suffixes = (".acme",)

    def __init__(self, settings):
        self.settings = settings

    def read(self, data):
        return Document(data.decode()[::-1])


@register("store", "length")
class LengthStore:
    """Ranks passages by their length."""

    def __init__(self, settings):
        self.settings = settings

    def build(self, passages, folder, context):
        lengths = [len(text) for text in passages.texts()]
        (folder / "lengths.json").write_text(json.dumps(lengths))
        return Built({}, f"measured {len(lengths)} passages")

    def need(self, passages, characters, encoders):
        return Need(10 * passages, 100 * passages)

    def current(self, facts, encoders):
        return True

    def open(self, folder, facts, encoders):
        return _LengthSearcher(json.loads((folder / "lengths.json").read_text()))


class _LengthSearcher:
    def __init__(self, lengths):
        self._ranking = sorted(enumerate(lengths), key=lambda pair: -pair[1])

    def search(self, probes, k):
        return [[(row, float(length)) for row, length in self._ranking[:k]] for _ in probes]


@register("fusion", "by_length")
class ByLength:
    """Looks at the store of lengths alone."""

    def __init__(self, settings):
        self.settings = settings

    def fuse(self, lists):
        return {hit.passage.id: hit.score for hit in lists["length"]}

    def check(self, stores):
        pass


@register("retriever", "backwards")
class Backwards:
    """Turns the order of the passages round."""

    role = "passages"
    stores = ()
    needs_model = False

    def __init__(self, settings):
        self.settings = settings

    def refine(self, queries, hits, context):
        return [list(reversed(found)) for found in hits]
