"""The rules that `rules.py` compares, as settings over its pipeline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: the last block of the early exit that stands for a layer-cut copy of the model: the same blocks, norm and head
CUT = 19
SHOWN = "there are no passages"
ONE = "there is one passage: it is plain"


@dataclass(frozen=True)
class Row:
    """A decoding stage to be measured.

    Attributes:
        rule: As under ``decode.rule``; ``{noisy}``, ``{heads}`` and ``{detector}`` are filled in.
        views: As under ``decode.views``.
        sampling: As under ``decode.sampling``.
        against: The row that it is compared with.
        grounded: Only where the set's prompt is the catalogue's ``grounded``, to which its own prompt belongs.
        evidence: Needs passages.
        several: Needs more than one passage to differ from plain.
        sampled: Differs from its base only where answers are drawn, or scored.
        scored: Only where given answers are scored.
        extra: Beyond the table that is always made.
    """

    rule: list[Any]
    views: dict[str, Any] = field(default_factory=dict)
    sampling: dict[str, float] = field(default_factory=dict)
    against: str = "plain"
    grounded: bool = False
    evidence: bool = False
    several: bool = False
    sampled: bool = False
    scored: bool = False
    extra: bool = False

    def overrides(self, names: Mapping[str, str]) -> list[str]:
        """What is set over the pipeline, as after ``--set``."""
        rule = json.dumps(self.rule)
        for name, value in names.items():
            rule = rule.replace(f"{{{name}}}", value)
        sets = [f"decode.rule={rule}", f"decode.views={json.dumps(self.views)}"]
        return [*sets, *(f"decode.sampling.{name}={value}" for name, value in self.sampling.items())]


#: of DoLa's paper and code
_PENALTY = {"repetition_penalty": 1.2}
_DRAWN = {"temperature": 1.0}
ROWS: dict[str, Row] = {
    "plain": Row([]),
    "cad 0.5": Row([{"cad": {"alpha": 0.5}}], evidence=True),
    "cad 1": Row([{"cad": {"alpha": 1.0}}], evidence=True),
    "acd": Row(["acd"], evidence=True),
    "adacad": Row(["adacad"], evidence=True),
    "coiecd": Row(["coiecd"], evidence=True),
    "ensemble": Row(["ensemble"], evidence=True, several=True),
    "dagcd": Row([{"dagcd": {"detector": "{detector}"}}], evidence=True),
    "decore": Row([{"decore": {"heads": "{heads}"}}]),
    "dola": Row(["dola"], sampling=_PENALTY),
    # without its mask, as their code scores given answers (unconfirmed)
    "dola, no mask": Row([{"dola": {"ratio": 1e-9}}], scored=True),
    "instructive": Row([{"instructive": {"prompt": "{noisy}"}}]),
    "contrast (layer cut)": Row(
        [{"contrast": {"amateur": "early"}}], views={"early": {"intervention": {"exit": CUT}, "role": "rule"}}
    ),
    "plain, T=1": Row([], sampling=_DRAWN, sampled=True),
    "dynamic_focus, T=1": Row(["dynamic_focus"], sampling=_DRAWN, against="plain, T=1", sampled=True),
    "lol": Row(["lol"], extra=True),
    "lookback": Row(["lookback"], extra=True, evidence=True),
    "contrastive_search": Row(["contrastive_search"], extra=True),
    "kl_to_evidence": Row(["kl_to_evidence"], evidence=True, extra=True),
    "induced": Row(["induced"], grounded=True, extra=True),
    "leading_query": Row(["leading_query"], grounded=True, extra=True),
}


def reason_to_skip(row: Row, passages: int, prompt: str, drawn: bool) -> str | None:
    """Why a row is not run in a set; None if it is.

    Args:
        row: The row.
        passages: Most passages that an example of the set shows.
        prompt: The set's prompt.
        drawn: Whether answers are written (and can be drawn), not scored.
    """
    if row.evidence and not passages:
        return SHOWN
    if row.several and passages < 2:
        return ONE
    if row.grounded and prompt != "grounded":
        return "its prompt belongs to `grounded`"
    if row.sampled and not row.rule and not drawn:
        return "given answers are scored, not drawn"
    if row.scored and drawn:
        return "it is for given answers only"
    return None
