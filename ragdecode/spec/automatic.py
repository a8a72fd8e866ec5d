"""``draft: auto`` and what it stands for in a pipeline."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ragdecode.errors import RagDecodeError
from ragdecode.spec import registry
from ragdecode.spec.decode import ViewSpec
from ragdecode.spec.part import Part, PartKind
from ragdecode.spec.pipeline import PipelineSpec

#: The drafter that stands for others.
AUTO = "auto"


def automatic(spec: PipelineSpec) -> dict[str, dict[str, Any]]:
    """The drafters that ``auto`` brings, with their settings; those that the pipeline names itself keep their own."""
    named = {part.name for part in spec.decode.draft}
    if AUTO not in named:
        return {}
    info = registry.find("drafter", AUTO)
    assert info is not None
    stores = [part.name for part in spec.index.stores] if spec.index is not None else []
    rules = _rules(spec)
    declared = {**{name: view for rule in rules for name, view in rule.declares.items()}, **spec.decode.views}
    members: dict[str, dict[str, Any]] = info.cls.members(  # type: ignore[attr-defined]
        registry.parts("drafter"), stores, rules, lambda view: _alike(spec, declared.get(view))
    )
    return {name: settings for name, settings in members.items() if name not in named}


def _rules(spec: PipelineSpec) -> list[Any]:
    """The rules; one whose settings do not go together is refused elsewhere."""
    rules = []
    for part in spec.decode.rule:
        with suppress(RagDecodeError):
            rules.append(part.build())
    return rules


def _alike(spec: PipelineSpec, view: ViewSpec | None) -> bool:
    """Whether a view differs from the target in its prompt alone; those that need no declaration do."""
    if view is None:
        return True
    return view.intervention is None and (view.model is None or view.model.source == spec.model.source)


def expanded(spec: PipelineSpec) -> PipelineSpec:
    """The pipeline with the members in the place of ``auto``."""
    kind = PartKind("drafter")
    members = [kind.validate({name: settings}) for name, settings in automatic(spec).items()]
    draft: list[Part] = []
    for part in spec.decode.draft:
        draft += members if part.name == AUTO else [part]
    if tuple(draft) == spec.decode.draft:
        return spec
    return spec.model_copy(update={"decode": spec.decode.model_copy(update={"draft": tuple(draft)})})
