"""Whether a diagnosis goes together: it is of kNN-LM over a memory."""

from __future__ import annotations

from pathlib import Path

from ragdecode.spec.checks import Checks
from ragdecode.spec.diagnosis import DiagnosisSpec


class DiagnosisChecks(Checks):
    """Checks one validated diagnosis."""

    def check(self, spec: DiagnosisSpec) -> None:
        """Check what does not depend on the index itself."""
        rule = spec.rule
        if rule.name != "knn_lm":
            self.add(("rule",), f"'{rule.name}' has no memory whose votes could be counted", "rule: knn_lm")
        elif rule.settings.store != "memory":  # type: ignore[attr-defined]
            message = "the votes of a memory are counted, and this rule asks the request's passages"
            self.add(("rule", "knn_lm", "store"), message, "store: memory")
        elif rule.settings.pointers:  # type: ignore[attr-defined]
            message = "pointers has no place in a diagnosis: the memory is searched at every token"
            self.add(("rule", "knn_lm", "pointers"), message, "leave it out")
        if spec.encoder is not None and spec.encoder.kind != "encoder":
            message = f"'{spec.encoder.name}' is a model of kind {spec.encoder.kind}; expected an encoder"
            self.add(("encoder",), message, "encoder: minilm")
        if Path(spec.index).is_dir():
            self.add(("index",), "this is a folder; expected the YAML file of an index or pipeline")
