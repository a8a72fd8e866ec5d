"""Which parts go together: what does not is refused before any model loads, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ragdecode.errors import RagDecodeError
from ragdecode.spec.automatic import expanded
from ragdecode.spec.checks import Checks
from ragdecode.spec.decode import DecodeSpec
from ragdecode.spec.decoding_checks import DecodingChecks
from ragdecode.spec.diagnosis_checks import DiagnosisChecks
from ragdecode.spec.index import IndexSpec
from ragdecode.spec.node import Path_
from ragdecode.spec.part import Part
from ragdecode.spec.pipeline import PipelineSpec
from ragdecode.spec.retrieval_checks import RetrievalChecks

#: what parts call the stores of the pipeline's index that are for decoding, and their names in YAML
STORES = {"datastore": "tokens", "memory": "memory"}


class Combination(Checks):
    """Checks one validated document of any kind."""

    def check(self, kind: str, spec: Any) -> None:
        """Check a document of a kind (a key of `FOLDERS`); models and prompts have nothing to combine."""
        checks: dict[str, Callable[[Any], object]] = {
            "pipelines": self._pipeline,
            "decoding": lambda decode: DecodingChecks(self.tree, self.report).check(decode, ()),
            "indexes": lambda index: self._index(index, ()),
            "diagnoses": lambda diagnosis: DiagnosisChecks(self.tree, self.report).check(diagnosis),
            "retrievers": lambda chain: RetrievalChecks(self.tree, self.report).check(chain, None, ()),
        }
        if kind in checks:
            checks[kind](spec)

    def _pipeline(self, spec: PipelineSpec) -> None:
        if spec.model.kind != "causal":
            message = f"'{spec.model.name}' is a model of kind {spec.model.kind}; a pipeline needs causal"
            self.add(("model",), message, outermost=True)
        if spec.index is not None:
            self._index(spec.index, ("index",))
            if not spec.retrieve and self._resources(expanded(spec).decode).isdisjoint(STORES):
                hint = "add 'retrieve:', or leave the index out if passages come with the request"
                message = "nothing searches the index: the pipeline has no 'retrieve'"
                self.add(("index",), message, hint, outermost=True)
        needy = RetrievalChecks(self.tree, self.report).check(spec.retrieve, spec.index, ("retrieve",))
        if needy and spec.index is None:
            message = f"there is nothing to search: the pipeline has no index, and '{needy}' needs one"
            self.add(("retrieve",), message, "add 'index:'")
        DecodingChecks(self.tree, self.report).check(spec.decode, ("decode",))
        self._layers(spec)
        self._stores(spec)
        monitors = [self.built(part, ("decode", "monitor", i)) for i, part in enumerate(spec.decode.monitor)]
        for position, (part, monitor) in enumerate(zip(spec.decode.monitor, monitors, strict=True)):
            if getattr(monitor, "retrieves", False) and not spec.retrieve:
                message = "would retrieve, and the pipeline has no 'retrieve'"
                self.add(("decode", "monitor", position, part.name), message, "add index and retrieve", outermost=True)
        if spec.answer.citations and not any(getattr(part, "scores", False) for part in monitors):
            message = "citations need a monitor that says which passages support a sentence, and there is none"
            self.add(("answer", "citations"), message, "add decode.monitor: syncheck")

    def _stores(self, spec: PipelineSpec) -> None:
        """A part that reads a store of the index needs an index that has it."""
        have = [store.name for store in spec.index.stores] if spec.index else []
        for key, does in (("draft", "drafts from"), ("rule", "asks")):
            for position, part in enumerate(getattr(spec.decode, key)):
                for store in [STORES[name] for name in _asks(part) if name in STORES]:
                    if store in have:
                        continue
                    message = f"{does} the index, and the pipeline has none"
                    hint = f"add 'index:' with the store {store}"
                    if spec.index is not None:
                        message = f"{does} the store '{store}'; the index has {', '.join(have) or 'none'}"
                        hint = f"add '{store}' to index.stores"
                    self.add(("decode", key, position, part.name), message, hint, outermost=True)

    def _resources(self, decode: DecodeSpec) -> set[str]:
        """What the rules and drafters of a recipe read besides the request."""
        return {name for part in (*decode.rule, *decode.draft) for name in _asks(part)}

    def _layers(self, spec: PipelineSpec) -> None:
        """Leaving out layers takes a backend that can."""
        views = spec.decode.views.items()
        exits = {name for name, view in views if view.intervention and view.intervention.exit is not None}
        for position, part in enumerate(spec.decode.draft if spec.engine.backend == "transformers" else ()):
            at = ("decode", "draft", position)
            built = self.built(part, at)
            if getattr(built, "skips_layers", False) or not exits.isdisjoint(getattr(built, "views", ())):
                message = "skips layers of the model, which the transformers backend cannot do"
                hint = "engine.backend: llama if the model is Llama-shaped, else another drafter"
                self.add((*at, part.name), message, hint, outermost=True)

    def _index(self, spec: IndexSpec, path: Path_) -> None:
        self.once(spec.stores, (*path, "stores"))
        if not spec.stores:
            self.add((*path, "stores"), "the index has no store: nothing could be searched", "name one: bm25, faiss")
        if not spec.corpus.include:
            hint = "leave it out for the usual formats"
            self.add((*path, "corpus", "include"), "no pattern: no file would be read", hint)


def _asks(part: Part) -> Sequence[str]:
    """What a part reads besides the request; nothing if its settings do not go together."""
    try:
        return tuple(getattr(part.build(), "resources", ()))
    except RagDecodeError:
        return ()
