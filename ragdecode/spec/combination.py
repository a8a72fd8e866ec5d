"""Which parts go together: what does not is refused before any model loads, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ragdecode.errors import RagDecodeError
from ragdecode.spec import catalogue, registry
from ragdecode.spec.automatic import expanded
from ragdecode.spec.decode import DecodeSpec
from ragdecode.spec.index import IndexSpec
from ragdecode.spec.nearest import did_you_mean
from ragdecode.spec.node import Node, Path_
from ragdecode.spec.part import Part
from ragdecode.spec.pipeline import PipelineSpec
from ragdecode.spec.report import Report
from ragdecode.spec.validate import node_at
from ragdecode.spec.verification import verification_problems
from ragdecode.spec.view_plan import CLOSED_BOOK, TARGET, views_brought, views_read

#: what drafters call the token datastore of the pipeline's index
DATASTORE = "datastore"


class Combination:
    """Checks one validated document.

    Attributes:
        tree: The resolved tree, for lines.
        report: Takes the problems.
    """

    def __init__(self, tree: Node, report: Report) -> None:
        self.tree = tree
        self.report = report

    def check(self, kind: str, spec: Any) -> None:
        """Check a document of a kind (a key of `FOLDERS`); models and prompts have nothing to combine."""
        checks: dict[str, Callable[[Any], object]] = {
            "pipelines": self._pipeline,
            "decoding": lambda decode: self._decode(decode, ()),
            "indexes": lambda index: self._index(index, ()),
            "retrievers": lambda chain: self._retrieve(chain, None, ()),
        }
        if kind in checks:
            checks[kind](spec)

    def _add(self, path: Path_, message: str, hint: str | None = None, *, outermost: bool = False) -> None:
        """Note a problem; ``outermost`` blames the user's own document rather than a file that it names."""
        place = node_at(self.tree, path)[0].place
        self.report.add(place.outermost() if outermost else place, path, message, hint)

    def _pipeline(self, spec: PipelineSpec) -> None:
        if spec.model.kind != "causal":
            message = f"'{spec.model.name}' is a model of kind {spec.model.kind}; a pipeline needs causal"
            self._add(("model",), message, outermost=True)
        if spec.index is not None:
            self._index(spec.index, ("index",))
            if not spec.retrieve and DATASTORE not in self._resources(expanded(spec).decode):
                hint = "add 'retrieve:', or leave the index out if passages come with the request"
                message = "nothing searches the index: the pipeline has no 'retrieve'"
                self._add(("index",), message, hint, outermost=True)
        needy = self._retrieve(spec.retrieve, spec.index, ("retrieve",))
        if needy and spec.index is None:
            message = f"there is nothing to search: the pipeline has no index, and '{needy}' needs one"
            self._add(("retrieve",), message, "add 'index:'")
        self._decode(spec.decode, ("decode",))
        self._layers(spec)
        self._datastore(spec)

    def _datastore(self, spec: PipelineSpec) -> None:
        """A drafter that reads a token datastore needs an index that has one."""
        for position, part in enumerate(spec.decode.draft):
            if DATASTORE not in _asks(part) or (spec.index and any(one.name == "tokens" for one in spec.index.stores)):
                continue
            at: Path_ = ("decode", "draft", position, part.name)
            if spec.index is None:
                message, hint = "drafts from the index, and the pipeline has none", "add 'index:' with the store tokens"
            else:
                have = ", ".join(store.name for store in spec.index.stores) or "none"
                message = f"drafts from the store 'tokens'; the index has {have}"
                hint = "add 'tokens' to index.stores"
            self._add(at, message, hint, outermost=True)

    def _resources(self, decode: DecodeSpec) -> set[str]:
        """What the drafters of a recipe read besides the request."""
        return {name for part in decode.draft for name in _asks(part)}

    def _layers(self, spec: PipelineSpec) -> None:
        """Leaving out layers takes a backend that can."""
        for position, part in enumerate(spec.decode.draft if spec.engine.backend == "transformers" else ()):
            at = ("decode", "draft", position)
            if getattr(self._built(part, at), "skips_layers", False):
                message = "skips layers of the model, which the transformers backend cannot do"
                hint = "engine.backend: llama if the model is Llama-shaped, else another drafter"
                self._add((*at, part.name), message, hint, outermost=True)

    def _index(self, spec: IndexSpec, path: Path_) -> None:
        self._once(spec.stores, (*path, "stores"))
        if not spec.stores:
            self._add((*path, "stores"), "the index has no store: nothing could be searched", "name one: bm25, faiss")
        if not spec.corpus.include:
            hint = "leave it out for the usual formats"
            self._add((*path, "corpus", "include"), "no pattern: no file would be read", hint)

    def _once(self, parts: Sequence[Part], path: Path_) -> None:
        """The same part twice is a slip."""
        seen: dict[str, int] = {}
        for position, part in enumerate(parts):
            if part.name in seen:
                self._add((*path, position), f"the {part.kind} '{part.name}' stands twice", "remove one")
            seen[part.name] = position

    def _built(self, part: Part, path: Path_) -> Any:
        """The part, or None with a problem if its settings do not go together."""
        try:
            return part.build()
        except RagDecodeError as error:
            self._add((*path, part.name), error.message, error.hint)
            return None

    def _retrieve(self, chain: Sequence[Part], index: IndexSpec | None, path: Path_) -> str | None:
        """Checks a chain; returns the first stage that needs an index."""
        finder: str | None = None
        needy = role = None
        readied: list[tuple[Part, Path_, Sequence[str]]] = []
        for position, part in enumerate(chain):
            at = (*path, position)
            if part in chain[:position]:
                self._add(at, f"'{part.name}' stands twice with the same settings", "remove one")
            built = self._built(part, at)
            role = getattr(built, "role", None)
            if role == "passages" and finder is None:
                message = f"'{part.name}' works on passages that another stage found; it cannot come before one"
                self._add((*at, part.name), message, "find passages before it: bm25, dense, hybrid", outermost=True)
            if role == "query" and finder is not None:
                message = f"'{part.name}' reworks the question; after '{finder}' it would come too late"
                self._add((*at, part.name), message, f"put it before '{finder}'", outermost=True)
            if role == "find" and finder is not None:
                message = f"'{part.name}' finds passages and would drop those of '{finder}'"
                hint = "only one stage finds passages; 'hybrid' fuses several stores"
                self._add((*at, part.name), message, hint, outermost=True)
            if role == "query" and getattr(built, "stores", None):
                readied.append((part, at, built.stores))
            if role == "find" and finder is None:
                self._readied(readied, part.name, getattr(built, "stores", None))
            if role == "find":
                finder = finder or part.name
            if built is not None and getattr(built, "stores", None) != ():
                needy = needy or part.name
            self._stores(part, built, index, at)
        if finder is None and chain and role == "query":
            self._add(
                (*path, len(chain) - 1), "no stage finds passages", "add one: bm25, dense, hybrid", outermost=True
            )
        return needy

    def _readied(
        self, readied: Sequence[tuple[Part, Path_, Sequence[str]]], finder: str, searched: Sequence[str] | None
    ) -> None:
        """A stage that prepares the search of a store is of no use where that store is not searched."""
        for part, at, own in readied:
            if searched is not None and set(own).isdisjoint(searched):
                message = f"'{part.name}' is for the store '{', '.join(own)}', which '{finder}' does not search"
                self._add((*at, part.name), message, "search that store, or leave the stage out", outermost=True)

    def _stores(self, part: Part, built: Any, index: IndexSpec | None, path: Path_) -> None:
        if index is None:
            return
        have = [store.name for store in index.stores if _finds_passages(store.name)]
        for name in getattr(built, "stores", None) or ():
            if not _finds_passages(name):
                message = f"searches the store '{name}', which finds no passages: it is for drafters"
                hint = f"search {' or '.join(have)}" if have else "add one that does to index.stores: bm25, faiss"
                self._add((*path, part.name), message, hint, outermost=True)
            elif name not in have:
                near = did_you_mean(name, have)
                hint = near if near and near.startswith("did") else f"add '{name}' to index.stores"
                message = f"searches the store '{name}'; the index has {', '.join(have) or 'none'}"
                self._add((*path, part.name), message, hint, outermost=True)
            else:
                self._ranking(part, name, getattr(built, "ranks_by", None), have, path)
        if not have and getattr(built, "stores", ()) is None and index.stores:
            only = ", ".join(store.name for store in index.stores)
            message = f"searches the index, whose stores ({only}) find no passages"
            self._add((*path, part.name), message, "add one that does to index.stores: bm25, faiss", outermost=True)
        check = getattr(built, "check_stores", None)
        if check is not None and have:
            try:
                check(have)
            except RagDecodeError as error:
                self._add((*path, part.name), error.message, error.hint, outermost=True)

    def _ranking(self, part: Part, store: str, wanted: str | None, have: Sequence[str], path: Path_) -> None:
        """A stage that compares words is of no use over vectors, and the other way round."""
        found = _ranks_by(store)
        if wanted is not None and found is not None and found != wanted:
            fit = [name for name in have if _ranks_by(name) == wanted]
            hint = f"store: {' or '.join(fit)}" if fit else f"add one that ranks by {wanted} to index.stores"
            message = f"needs a store that ranks by {wanted}; '{store}' ranks by {found}"
            self._add((*path, part.name), message, hint, outermost=True)

    def _decode(self, decode: DecodeSpec, path: Path_) -> None:
        for key in ("rule", "draft", "constraint", "monitor"):
            self._once(getattr(decode, key), (*path, key))
        self._reweighs(decode.rule, (*path, "rule"))
        if decode.draft and decode.max_draft_nodes > 1:
            self._on_trees(decode.rule, (*path, "rule"))
        for place, message, hint in verification_problems(decode, path, self._built):
            self._add(place, message, hint)
        used: set[str] = set()
        for key in ("rule", "monitor", "draft"):
            for position, part in enumerate(getattr(decode, key)):
                used |= self._views(part, decode, path, (*path, key, position))
        for name, view in decode.views.items():
            at = (*path, "views", name)
            if name == TARGET:
                hint = "set the pipeline's own prompt and model"
                self._add(at, f"'{TARGET}' is the pipeline's own view and cannot be declared", hint)
            elif catalogue.NAME.fullmatch(name) is None or "." in name:
                self._add(at, f"{name!r} cannot be the name of a view", "use letters, digits, '_' and '-'")
            elif name not in used:
                self._add(at, f"nothing uses the view '{name}'", "remove it, or name it in a rule or drafter")
            if view.model is not None and view.model.kind != "causal":
                message = f"'{view.model.name}' is a model of kind {view.model.kind}; a view needs causal"
                self._add((*at, "model"), message, outermost=True)

    def _reweighs(self, rules: Sequence[Part], path: Path_) -> None:
        """Two rules that decide the same thing would undo each other."""
        deciders: dict[str, str] = {}
        for position, part in enumerate(rules):
            what = getattr(self._built(part, (*path, position)), "reweighs", None)
            if what is None:
                continue
            other = deciders.setdefault(what, part.name)
            if other != part.name:
                message = f"'{other}' and '{part.name}' cannot go together: both reweigh the {what}"
                self._add((*path, position, part.name), message, "keep one of them")

    def _on_trees(self, rules: Sequence[Part], path: Path_) -> None:
        """A rule that depends on more than a node's own ancestors says nothing of drafts."""
        for position, part in enumerate(rules):
            if not getattr(self._built(part, (*path, position)), "on_trees", True):
                message = f"'{part.name}' cannot be evaluated on drafts before they are accepted"
                nodes = ".".join(map(str, (*path[:-1], "max_draft_nodes")))
                self._add(
                    (*path, position, part.name), message, f"leave the drafters or the rule out, or set {nodes}: 1"
                )

    def _views(self, part: Part, decode: DecodeSpec, path: Path_, at: Path_) -> set[str]:
        """The views that a part asks for; missing ones and those of the wrong role are problems."""
        if self._built(part, at) is None:
            return set()
        asked = views_read(part)
        brought = views_brought([part])
        for name in asked:
            view = decode.views.get(name)
            if name in brought:
                if view is not None:
                    message = f"brings the view '{name}' itself; it cannot be declared"
                    self._add((*at, part.name), message, f"give the view under 'views' another name than '{name}'")
                model = brought[name].model
                if model is not None and model.kind != "causal":
                    message = f"'{model.name}' is a model of kind {model.kind}; a draft model is causal"
                    self._add((*at, part.name), message, outermost=True)
                continue
            if view is None and name != CLOSED_BOOK:
                hint = did_you_mean(name, decode.views) if decode.views else None
                if hint is None or not hint.startswith("did"):
                    hint = f"declare it: {'.'.join(str(key) for key in (*path, 'views', name))}"
                message = f"asks for the view '{name}', which is not declared"
                self._add((*at, part.name), message, hint)
            elif view is not None:
                self._role(part, name, view.role, (*at, part.name))
        return set(asked)

    def _role(self, part: Part, name: str, role: str, at: Path_) -> None:
        if part.kind == "drafter" and role == "rule":
            self._add(at, f"drafts from the view '{name}', whose role is 'rule'", "give the view the role 'both'")
        if part.kind != "drafter" and role == "draft":
            message = f"reads the view '{name}', whose role is 'draft': such a view is not verified"
            self._add(at, message, "give the view the role 'both'")


def _asks(part: Part) -> Sequence[str]:
    """What a drafter reads besides the request; nothing if its settings do not go together."""
    try:
        return tuple(getattr(part.build(), "resources", ()))
    except RagDecodeError:
        return ()


def _finds_passages(store: str) -> bool:
    """Whether retrievers may search a store, as its class says."""
    info = registry.find("store", store)
    return info is None or getattr(info.cls, "finds_passages", True)


def _ranks_by(store: str) -> str | None:
    """What a store compares, as its class says; None if it does not say."""
    info = registry.find("store", store)
    return getattr(info.cls, "ranks_by", None) if info is not None else None
