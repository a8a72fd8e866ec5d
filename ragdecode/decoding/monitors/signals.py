"""Records what was known when each token was chosen, and may flag unlikely ones."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ragdecode.decoding.monitor import Accepted, Action, Flag, Monitor, MonitorSession
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from ragdecode.decoding.request import Request


class SignalsSettings(Settings):
    """Settings of the recorder."""

    flag_below: float = Field(default=0.0, ge=0.0, le=1.0)
    """Flag tokens whose composed probability is below; 0 flags none."""


#: The exponential of more has no value in floating point.
_LARGEST = math.log(sys.float_info.max)


@register("monitor", "signals", SignalsSettings)
class Signals(Monitor):
    """Records log-probabilities, entropy, divergence of views and what rules tell, token by token; costs no pass."""

    entropy = True
    divergence = True
    rules = True

    def start(self, request: Request) -> MonitorSession:
        """Begin an empty record."""
        return _Session(self.settings.flag_below)


class _Session(MonitorSession):
    def __init__(self, flag_below: float) -> None:
        self._flag_below = flag_below
        self._tokens: list[dict[str, Any]] = []

    def observe(self, token: Accepted) -> Action | None:
        self._tokens.append(
            {
                "position": token.position,
                "token": token.token,
                "logprob": token.logprob,
                "views": dict(token.views),
                "entropy": token.entropy,
                "divergence": dict(token.divergence),
                "rules": dict(token.rules),
            }
        )
        if math.exp(token.logprob) < self._flag_below:
            return Flag({"position": token.position, "probability": math.exp(token.logprob)})
        return None

    def rewind(self, length: int) -> None:
        del self._tokens[length:]

    def record(self) -> dict[str, Any]:
        """Per-token signals and their means; null where they have no value, as for an empty answer."""
        count = len(self._tokens)
        mean = sum(item["logprob"] for item in self._tokens) / count if count else None
        return {
            "tokens": self._tokens,
            "mean_logprob": mean,
            "perplexity": math.exp(-mean) if mean is not None and mean > -_LARGEST else None,
            "mean_entropy": sum(item["entropy"] for item in self._tokens) / count if count else None,
        }
