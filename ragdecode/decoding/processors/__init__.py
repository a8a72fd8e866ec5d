"""Rules inside transformers' ``generate()``: one generic processor, and a class named after every registered rule.

``CadLogitsProcessor(model, views, alpha=0.5)`` is `RuleLogitsProcessor` with the rule ``cad`` and its settings; the
rule ``kl_to_evidence`` is ``KlToEvidenceLogitsProcessor``. Rules of plug-ins have theirs as well.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ragdecode.decoding.processors.processor import RuleLogitsProcessor
from ragdecode.spec import registry

#: What a processor takes besides a rule's settings.
_OWN = ("attention_mask", "max_new_tokens", "detokenize", "vocab_size")
_SUFFIX = "LogitsProcessor"


def class_name(rule: str) -> str:
    """The name of a rule's processor."""
    return "".join(word.capitalize() for word in rule.replace("-", "_").split("_")) + _SUFFIX


@cache
def _named(rule: str) -> type[RuleLogitsProcessor]:
    info = registry.find("rule", rule)
    assert info is not None

    def __init__(self: Any, model: Any, views: Any = None, **settings: Any) -> None:  # noqa: N807
        own = {name: settings.pop(name) for name in _OWN if name in settings}
        if "sampling_temperature" in settings:
            own["temperature"] = settings.pop("sampling_temperature")
        built = info.cls(info.settings.model_validate(settings))
        RuleLogitsProcessor.__init__(self, [built], model, views, **own)

    text = (
        f"{info.summary}\n\nTakes the model and the views as `RuleLogitsProcessor` does, then the settings of the rule "
        f"{rule!r}, and `attention_mask`, `max_new_tokens`, `detokenize`, `vocab_size`, `sampling_temperature`.\n"
    )
    members = {"__init__": __init__, "__doc__": text, "__module__": __name__}
    return type(class_name(rule), (RuleLogitsProcessor,), members)


def __getattr__(name: str) -> Any:
    if name.endswith(_SUFFIX):
        for rule in registry.parts("rule"):
            if class_name(rule) == name:
                return _named(rule)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *(class_name(rule) for rule in registry.parts("rule"))]


__all__ = ["RuleLogitsProcessor", "class_name"]
