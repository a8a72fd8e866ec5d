"""A rule, a drafter, a constraint and a monitor."""

from __future__ import annotations

from ragdecode.decoding.constraint import Constraint, ConstraintSession
from ragdecode.decoding.drafter import Draft, Drafter, DraftSession
from ragdecode.decoding.monitor import Monitor, MonitorSession
from ragdecode.decoding.rule import Rule
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings


class FavourSettings(Settings):
    """Which tokens are favoured, best first."""

    tokens: tuple[int, ...]
    """Token ids."""


@register("rule", "favour", FavourSettings)
class Favour(Rule):
    """Makes some tokens certain, the first one most of all."""

    views = ()

    def compose(self, nodes):
        composed = nodes.composed.clone()
        for place, token in enumerate(self.settings.tokens):
            composed[:, token] += 1000.0 / (1 + place)
        return composed


class TokenSettings(Settings):
    """One token."""

    token: int
    """Its id."""


@register("drafter", "again", TokenSettings)
class Again(Drafter):
    """Proposes one token again and again."""

    def start(self, request):
        return _AgainSession(self.settings.token)


class _AgainSession(DraftSession):
    def __init__(self, token):
        self._token = token

    def propose(self, nodes):
        return Draft.chain([self._token] * nodes, 0.9)

    def observe(self, verified):
        pass

    def rewind(self, length):
        pass


@register("constraint", "never", TokenSettings)
class Never(Constraint):
    """Forbids one token."""

    def start(self, request, vocab_size):
        return _NeverSession(self.settings.token, vocab_size)


class _NeverSession(ConstraintSession):
    def __init__(self, token, vocab_size):
        import torch

        self._mask = torch.zeros(vocab_size, dtype=torch.bool)
        self._mask[token] = True

    def start(self):
        return None

    def advance(self, state, token):
        return None

    def mask(self, state):
        return self._mask


@register("monitor", "counter")
class Counter(Monitor):
    """Counts tokens."""

    def start(self, request):
        return _CounterSession()


class _CounterSession(MonitorSession):
    def __init__(self):
        self._count = 0

    def observe(self, token):
        self._count += 1

    def rewind(self, length):
        self._count = length

    def record(self):
        return {"counted": self._count}
