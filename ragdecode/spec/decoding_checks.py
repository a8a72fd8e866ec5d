"""Which rules, drafters, monitors and views of a decoding stage go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ragdecode.errors import RagDecodeError
from ragdecode.spec import catalogue
from ragdecode.spec.checks import Checks
from ragdecode.spec.decode import DecodeSpec, SamplingSpec, ViewSpec
from ragdecode.spec.nearest import did_you_mean
from ragdecode.spec.node import Path_
from ragdecode.spec.part import Part
from ragdecode.spec.verification import verification_problems
from ragdecode.spec.view_plan import CLOSED_BOOK, TARGET, views_brought, views_read


@dataclass(frozen=True)
class _Stage:
    """The parts of a decoding stage, built for a look; see `ragdecode.decoding.rule.Company`."""

    rules: Sequence[Any]
    drafters: Sequence[Any]
    constraints: Sequence[Any]
    monitors: Sequence[Any]
    sampling: SamplingSpec
    max_draft_nodes: int


class DecodingChecks(Checks):
    """Checks the decoding stage of one document."""

    def check(self, decode: DecodeSpec, path: Path_) -> None:
        """Check a decoding stage that stands at a path."""
        for key in ("rule", "draft", "constraint", "monitor"):
            self.once(getattr(decode, key), (*path, key))
        self._reweighs(decode.rule, (*path, "rule"))
        if decode.draft and decode.max_draft_nodes > 1:
            self._on_trees(decode.rule, (*path, "rule"))
        self._company(decode, path)
        self._constraints(decode.constraint, (*path, "constraint"))
        self._search(decode, path)
        for place, message, hint in verification_problems(decode, path, self.built):
            self.add(place, message, hint)
        used: set[str] = set()
        for key in ("rule", "monitor", "draft"):
            for position, part in enumerate(getattr(decode, key)):
                used |= self._views(part, decode, path, (*path, key, position))
        for name, view in decode.views.items():
            at = (*path, "views", name)
            if name == TARGET:
                hint = "set the pipeline's own prompt and model"
                self.add(at, f"'{TARGET}' is the pipeline's own view and cannot be declared", hint)
            elif catalogue.NAME.fullmatch(name) is None or "." in name:
                self.add(at, f"{name!r} cannot be the name of a view", "use letters, digits, '_' and '-'")
            elif name not in used:
                self.add(at, f"nothing uses the view '{name}'", "remove it, or name it in a rule or drafter")
            if view.model is not None and view.model.kind != "causal":
                message = f"'{view.model.name}' is a model of kind {view.model.kind}; a view needs causal"
                self.add((*at, "model"), message, outermost=True)

    def _reweighs(self, rules: Sequence[Part], path: Path_) -> None:
        """Two rules that decide the same thing would undo each other."""
        deciders: dict[str, str] = {}
        for position, part in enumerate(rules):
            what = getattr(self.built(part, (*path, position)), "reweighs", None)
            if what is None:
                continue
            other = deciders.setdefault(what, part.name)
            if other != part.name:
                message = f"'{other}' and '{part.name}' cannot go together: both reweigh the {what}"
                self.add((*path, position, part.name), message, "keep one of them")

    def _search(self, decode: DecodeSpec, path: Path_) -> None:
        """A search goes with what acts beside it; one over sentences needs a monitor that scores them."""
        if decode.search is None:
            return
        at = (*path, "search", decode.search.name)
        search = self.built(decode.search, (*path, "search"))
        stage = self._stage(decode, path)
        if search is None or stage is None:
            return
        by = getattr(search, "by", "")
        if not getattr(search, "spans", False) and not any(
            getattr(part, "scores", False) and by in ("", part.part_name) for part in stage.monitors
        ):
            self.add(at, "needs a monitor that scores sentences", "add monitor: syncheck")
        try:
            search.check(stage)
        except RagDecodeError as error:
            self.add(at, error.message, error.hint)

    def _constraints(self, constraints: Sequence[Part], path: Path_) -> None:
        """Two constraints that could leave each other nothing."""
        names = [part.name for part in constraints]
        for position, part in enumerate(constraints):
            unmixable = getattr(self.built(part, (*path, position)), "unmixable", {})
            for other, why in unmixable.items():
                if other in names:
                    message = f"'{part.name}' and '{other}' cannot go together: {why}"
                    self.add((*path, position, part.name), message, "keep one of them")

    def _company(self, decode: DecodeSpec, path: Path_) -> None:
        """Ask every rule and monitor whether it goes with the other parts and with the sampling."""
        stage = self._stage(decode, path)
        if stage is None:
            return
        for key, parts in (("rule", stage.rules), ("monitor", stage.monitors)):
            for position, (part, built) in enumerate(zip(getattr(decode, key), parts, strict=True)):
                try:
                    getattr(built, "check", lambda _: None)(stage)
                except RagDecodeError as error:
                    self.add((*path, key, position, part.name), error.message, error.hint)

    def _stage(self, decode: DecodeSpec, path: Path_) -> _Stage | None:
        """The parts, built for a look; None where one refuses its settings, for its own problem comes first."""
        keys = ("rule", "draft", "constraint", "monitor")
        built = [[self.built(part, (*path, key, i)) for i, part in enumerate(getattr(decode, key))] for key in keys]
        if any(part is None for parts in built for part in parts):
            return None
        rules, drafters, constraints, monitors = built
        return _Stage(rules, drafters, constraints, monitors, decode.sampling, decode.max_draft_nodes)

    def _on_trees(self, rules: Sequence[Part], path: Path_) -> None:
        """A rule that depends on more than a node's own ancestors says nothing of drafts."""
        for position, part in enumerate(rules):
            if not getattr(self.built(part, (*path, position)), "on_trees", True):
                message = f"'{part.name}' cannot be evaluated on drafts before they are accepted"
                nodes = ".".join(map(str, (*path[:-1], "max_draft_nodes")))
                self.add(
                    (*path, position, part.name), message, f"leave the drafters or the rule out, or set {nodes}: 1"
                )

    def _views(self, part: Part, decode: DecodeSpec, path: Path_, at: Path_) -> set[str]:
        """The views that a part asks for; missing ones and those of the wrong role are problems."""
        if self.built(part, at) is None:
            return set()
        asked = views_read(part)
        brought = views_brought([part])
        for name in asked:
            view = decode.views.get(name)
            if name in brought:
                if view is not None:
                    message = f"brings the view '{name}' itself; it cannot be declared"
                    self.add((*at, part.name), message, f"give the view under 'views' another name than '{name}'")
                model = brought[name].model
                if model is not None and model.kind != "causal":
                    message = f"'{model.name}' is a model of kind {model.kind}; a view needs causal"
                    self.add((*at, part.name), message, outermost=True)
                continue
            if view is None and name != CLOSED_BOOK:
                hint = did_you_mean(name, decode.views) if decode.views else None
                if hint is None or not hint.startswith("did"):
                    hint = f"declare it: {'.'.join(str(key) for key in (*path, 'views', name))}"
                message = f"asks for the view '{name}', which is not declared"
                self.add((*at, part.name), message, hint)
            elif view is not None:
                self._role(part, name, view.role, (*at, part.name))
                self._exit(part, name, view, (*at, part.name))
        return set(asked)

    def _exit(self, part: Part, name: str, view: ViewSpec, at: Path_) -> None:
        """An early exit cannot run while the model that it leaves rests, and has no lower blocks of its own."""
        if view.intervention is None or view.intervention.exit is None:
            return
        built = self.built(part, at)
        if getattr(built, "switches", False):
            message = f"cannot switch to the early exit '{name}': it reads states of the model that would rest"
            self.add(at, message, "give the view a model or passages of its own, or draft from it: draft: view")
        if name in getattr(built, "view_layers", {}):
            message = f"reads lower layers of the view '{name}', which is an early exit and has none of its own"
            self.add(at, message, "give the view a prompt or a model instead")

    def _role(self, part: Part, name: str, role: str, at: Path_) -> None:
        if part.kind == "drafter" and role == "rule":
            self.add(at, f"drafts from the view '{name}', whose role is 'rule'", "give the view the role 'both'")
        if part.kind != "drafter" and role == "draft":
            message = f"reads the view '{name}', whose role is 'draft': such a view is not verified"
            self.add(at, message, "give the view the role 'both'")
