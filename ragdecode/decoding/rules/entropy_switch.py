"""Entropy-adaptive decoding: a small and a large model, one of them a step, switched by how unsure the text is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from ragdecode.decoding.contrasting import entropy, finite
from ragdecode.decoding.intervention import EarlyExit
from ragdecode.decoding.rule import Company, Nodes, Rule
from ragdecode.errors import InputError
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.request import Request

#: The view of the large model.
_LARGE = "with_context"


class EntropySwitchSettings(Settings):
    """Settings of entropy-adaptive decoding."""

    small: str
    """The view that a smaller model reads, or a cheaper one that shows fewer passages; the target is the large one."""
    threshold: float = Field(default=1.0, ge=0.0, le=32.0)
    """Mean entropy in bits: the large model takes over above it, the small one below."""
    window: int = Field(default=5, ge=1, le=256)
    """Over how many of the last tokens the entropy is averaged; nothing is switched before there are so many."""
    stay: int = Field(default=10, ge=1, le=4096)
    """For how many tokens at least a model goes on after a switch to it."""
    begin: Literal["large", "small"] = "large"
    """Which model begins; the beginning is no switch."""

    @field_validator("small")
    @classmethod
    def _another_view(cls, view: str) -> str:
        if view == _LARGE:
            raise ValueError(f"'{_LARGE}' is the large model's view; name a view with a smaller model")
        return view


@register("rule", "entropy_switch", EntropySwitchSettings)
class EntropySwitch(Rule):
    """Entropy-adaptive decoding: a small model writes what is easy, a large one what is not.

    The mean of the entropies of the last ``window`` predictions, each of the model that made it, in bits and before
    temperature, decides: above the threshold the large model goes on, below it the small one, and after a switch each
    stays for ``stay`` tokens. One model runs a step; the other reads what it missed when it takes over. Source: EAD,
    arXiv 2502.06833. The paper has a window of 5 and at least 10 tokens after a switch; its thresholds, which model
    begins, and what counts before the window is full are unconfirmed: 1 bit, the large one, and no switch are choices
    of this package.
    """

    remembers = True
    switches = True

    def __init__(self, settings: EntropySwitchSettings) -> None:
        super().__init__(settings)
        self.recalls = max(settings.window, settings.stay)

    @property
    def views(self) -> Sequence[str]:
        """The small model's view."""
        return (self.settings.small,)

    def check(self, company: Company) -> None:
        """Refuse what would need both models in a step.

        Raises:
            InputError: The rule does not come first, or a part beside it reads what runs in some steps only.
        """
        first = company.rules[0]
        if first is not self:
            raise InputError(
                f"'entropy_switch' decides which model runs at all; what '{first.part_name}' makes of both is lost",
                hint="put it first in the chain",
            )
        for part in company.rules[1:]:
            if found := _asked(part):
                raise InputError(
                    f"'entropy_switch' runs one model a step, and '{part.part_name}' needs {found} in every step",
                    hint="leave one of them out",
                )
        for monitor in company.monitors:
            if monitor.hidden or monitor.divergence or monitor.measures or monitor.views:
                raise InputError(
                    f"'entropy_switch' runs one model a step, and the monitor '{monitor.part_name}' compares views or "
                    "reads hidden states in every step",
                    hint="leave one of them out",
                )

    def start(self, request: Request) -> Rule:
        """Itself.

        Raises:
            InputError: The small view is an early exit of the large model.
        """
        small = request.views.get(self.settings.small)
        if small is not None and isinstance(small.intervention, EarlyExit):
            raise InputError(
                f"'entropy_switch' cannot switch to the early exit {self.settings.small!r}: it reads the states of the "
                "large model, which would have to run all the same",
                hint="give the view a model of its own, or draft from it: draft: {view: {name: "
                f"{self.settings.small}}}}}",
            )
        return self

    def remember(self, nodes: Nodes) -> torch.Tensor:
        """Entropy in bits of the model that ran, and whether that was the small one ``[N, 2]``."""
        import torch

        bits = entropy(finite(nodes.log_probs[_LARGE])).cpu() / math.log(2)  # [N, 1]
        small = float(self.settings.small in nodes.log_probs)
        return torch.cat([bits, torch.full_like(bits, small)], dim=-1)

    def running(self, past: torch.Tensor) -> str:
        """The view that predicts the next token; ``past [t, 2]``, of which the last ``recalls`` rows are enough."""
        settings = self.settings
        rows: list[list[float]] = past[-max(settings.window, settings.stay) :].tolist()
        names: dict[str, str] = {"large": _LARGE, "small": settings.small}
        if not rows:
            return names[settings.begin]
        small = rows[-1][1]
        now, other = ("small", "large") if small else ("large", "small")
        since = next((count for count, row in enumerate(reversed(rows)) if row[1] != small), len(rows))
        if len(rows) < settings.window or (since < len(rows) and since < settings.stay):
            return names[now]
        mean = sum(row[0] for row in rows[-settings.window :]) / settings.window
        leave = mean > settings.threshold if small else mean < settings.threshold
        return names[other if leave else now]

    def compose(self, nodes: Nodes) -> torch.Tensor:
        """What the model that runs predicts ``[N, V]``."""
        return nodes.composed


def _asked(rule: Rule) -> str | None:
    """What a rule beside it needs of a view in every step; None if the predictions of any model do."""
    if rule.switches:
        return "to decide that itself"
    if rule.views:
        return f"the view {rule.views[0]}"
    if type(rule).reads is not Rule.reads:
        return "what the prompt predicts"
    asks = {"hidden": "hidden states", "layers": "early layers", "attends": "attention", "expand": "another pass"}
    asks |= {"taps": "states", "reads_hidden": "hidden states", "remembers": "one model's history"}
    return next((what for name, what in asks.items() if getattr(rule, name)), None)
