"""Trees that grow by a view's own predictions: EAGLE-2's expansion under OPT-Tree's choice.

What a drafter with a distribution is made of. A session of such a drafter (a view, a draft model, the target with
layers left out) extends `GrowingSession` of `ragdecode.decoding.speculation.growing`, whose ``grow`` hands on to
`Expander.grow` and whose ``judge`` to `Expander.judge`; the drafter itself extends `GrowingDrafter`, by which others
(RASD) know that it can be grown upon. ``observe`` and ``rewind`` of the session call those of the expander.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from ragdecode.decoding.drafter import Draft, Look, Verified
from ragdecode.decoding.speculation.candidates import ROOT, Candidates, class_of
from ragdecode.decoding.speculation.drawing import Drawer, level_sizes
from ragdecode.decoding.speculation.opinions import Opinions
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.request import Request

#: Assumed chance that the first of several draws is accepted, and each next one of what is left.
_DRAW = 0.7


class ExpansionSettings(Settings):
    """How a tree grows by a distribution."""

    depth: int = Field(default=4, ge=1, le=32)
    """Most looks at the model a step; each lets the tree grow by one level."""
    width: int = Field(default=2, ge=1, le=64)
    """Nodes that one look extends: the most probable of those not extended yet."""
    branch: int = Field(default=4, ge=1, le=64)
    """Most children of a node; 1 makes a chain."""
    gain: float = Field(default=0.1, ge=0.0, le=1.0)
    """Stop when a look adds no more than this to the expected accepted tokens: about the time of a look in steps."""
    confidence: float = Field(default=0.0, ge=0.0, le=1.0)
    """Stop when the best path that could be extended is less probable than this; 0 never does."""

    @property
    def look_nodes(self) -> int:
        """The most tokens that one look holds, those of a base that is extended left out."""
        return self.width * (self.depth - 1)


class Expander:
    """One request's tree, growing by a view.

    Each look extends the best nodes by path probability that are part of the best tree so far. At temperature 0 the
    children of a node are the most probable tokens. Above it, where verification picks by position-keyed noise,
    they are the best under *the same* noise, which is known beforehand (sheet 1.5-E): if the view predicted just
    what the target does, the best child would be right with certainty. With rejection sampling the children are
    drawn without replacement, by noise of their own, and none is dropped afterwards.

    Scores are products of estimated acceptances along the path. That of a child is what a softmax of the perturbed
    scores gives when they are scaled back by the temperature, ``softmax(T (log q + g))``: the probability of its
    being picked if the target's logits differ from the view's by Gumbel noise of scale 1. At temperature 0 this
    is the view's own probability, as in EAGLE-2.

    Sources: EAGLE-2 (arXiv 2406.16858), OPT-Tree (arXiv 2406.17276), recursive speculative decoding for the draws
    (arXiv 2402.14160).

    Args:
        request: Whose answer is drafted; its sampling, noise and end tokens are used, its picks are never seen.
        view: The view that is looked at.
        settings: Bounds.
        coupled: Whether the view's tokens are the target's, so that noise by token is shared and draws count.
        light: Whether the looks are with the model's weights in lower precision.
        composed: Whether the looks are at what the request's rules compose; see `Look.composed`.
        noise: By how much the view's logits are assumed to differ from the target's, in nats; the less, the surer
            of its best tokens is the estimate.
    """

    def __init__(
        self,
        request: Request,
        view: str,
        settings: ExpansionSettings,
        *,
        coupled: bool = True,
        light: bool = False,
        composed: bool = False,
        noise: float = 1.0,
    ) -> None:
        self._request = request
        self._view = view
        self._settings = settings
        self._coupled = coupled
        self._light = light
        self._composed = composed
        self._noise = noise
        self._epoch = 0
        self._answer: list[int] = []
        self._opinions = Opinions()
        self._drawer = Drawer(request, view)

    def grow(
        self,
        nodes: int,
        generated: int,
        *,
        skip: frozenset[int] = frozenset(),
        base: Draft | None = None,
        answer: Sequence[int] | None = None,
    ) -> Generator[Look, torch.Tensor, Draft]:
        """Yield looks, return the best tree of at most ``nodes`` nodes.

        Args:
            nodes: Most nodes of the draft.
            generated: Tokens accepted so far: the output position of the first drafted token.
            skip: Sub-layers that the looks leave out.
            base: A draft whose nodes are looked at first and whose leaves may be extended; its nodes take part in
                the choice with the better of their own score and the view's. Where children are drawn it is left
                alone: the draft is then the view's only.
            answer: The answer in the tokens of the view's own model, if that has another vocabulary.
        """
        self._opinions.clear()
        request, settings = self._request, self._settings
        room = request.max_new_tokens - generated - 1  # the bonus token takes the last place
        if nodes < 1 or room < 1:
            return Draft()
        if self._coupled and request.verification == "rejection" and request.sampling.temperature > 0:
            return (yield from self._draw(nodes, room, skip))
        found = Candidates()
        frontier = [ROOT] if base is None else sorted({ROOT, *found.take_in(base)})
        expected = 0.0
        best: list[int] = []
        for _ in range(settings.depth):
            table = yield from self._look(found, frontier, skip, answer)
            self._extend(found, frontier, table, generated, min(settings.branch, nodes))
            best = found.best(nodes)
            reached = sum(found.scores[node] for node in best)
            frontier = self._frontier(found, best, room)
            # the next look adds children whose scores sum to no more than their parents'
            most = sum(found.scores[node] for node in frontier)
            if reached - expected <= settings.gain or most <= settings.gain:
                break
            least = min(found.scores[node] for node in best)
            if len(best) == nodes and max(found.scores[node] for node in frontier) <= least:
                break  # a child, which is no better than its parent, would take the place of none
            expected = reached
        return found.draft(best)

    def judge(self, draft: Draft) -> list[tuple[float, int] | None]:
        """What the view made of a draft's nodes in the last ``grow``: see `Opinions.judge`."""
        return self._opinions.judge(draft)

    def observe(self, verified: Verified) -> None:
        """Note what was accepted; a repetition penalty needs it."""
        self._answer += verified.committed

    def rewind(self, length: int) -> None:
        """Back to the first ``length`` tokens, under other noise."""
        del self._answer[length:]
        self._epoch += 1

    def _look(
        self, found: Candidates, frontier: Sequence[int], skip: frozenset[int], answer: Sequence[int] | None
    ) -> Generator[Look, torch.Tensor, torch.Tensor]:
        """The view's distribution after the frontier's nodes, as the request samples: log-probabilities ``[F, V]``."""
        from ragdecode.decoding.sampling import penalise, warp

        shown = found.with_ancestors(frontier)
        place = {node: row for row, node in enumerate([ROOT, *shown])}
        log_q = yield Look(
            self._view,
            found.draft(shown),
            skip,
            answer,
            light=self._light,
            composed=self._composed,
            wanted=[place[node] for node in frontier],
        )
        sampling = self._request.sampling
        if sampling.repetition_penalty != 1 and self._coupled:
            seen = log_q.new_zeros(log_q.shape).bool()
            for row, node in enumerate(frontier):
                seen[row, [*self._answer, *found.path(node)]] = True
            log_q = penalise(log_q, seen, sampling.repetition_penalty).log_softmax(dim=-1)
        return warp(log_q, sampling)

    def _extend(
        self, found: Candidates, frontier: Sequence[int], log_q: torch.Tensor, generated: int, branch: int
    ) -> None:
        """Add the best children of the frontier's nodes; one read from the device."""
        import torch

        acceptance = self._acceptance(found, frontier, log_q, generated)  # [F, V]
        self._opinions.add([found.path(node) for node in frontier], acceptance)
        row_of = {node: row for row, node in enumerate(frontier)}
        # nodes of a base that stand below the frontier: their estimates are wanted besides the best children's
        given = [node for node in range(1, len(found.tokens)) if found.parents[node] in row_of]
        top = acceptance.topk(min(branch, acceptance.shape[-1]), dim=-1)
        at = torch.tensor([row_of[found.parents[node]] for node in given], dtype=torch.long, device=log_q.device)
        which = torch.tensor([found.tokens[node] for node in given], dtype=torch.long, device=log_q.device)
        which = which.clamp(0, acceptance.shape[-1] - 1)
        flat = [acceptance[at, which], top.values.flatten(), top.indices.flatten().to(acceptance)]
        read = torch.cat(flat).tolist()
        split = len(given) + top.indices.numel()
        for node, value in zip(given, read, strict=False):  # parents first, so that a change reaches what is below
            parent = found.parents[node]
            found.scores[node] = min(found.scores[parent], max(found.scores[node], found.scores[parent] * value))
        children = zip(read[len(given) : split], read[split:], strict=True)
        for node in frontier:
            for rank in range(top.indices.shape[-1]):
                value, token = next(children)
                if value > 0:
                    found.add(node, int(token), found.scores[node] * value, class_of(rank, value))

    def _acceptance(
        self, found: Candidates, frontier: Sequence[int], log_q: torch.Tensor, generated: int
    ) -> torch.Tensor:
        """Estimated acceptance of every token after each of the frontier's nodes ``[F, V]``."""
        from ragdecode.decoding.noise import gumbel

        sampling = self._request.sampling
        if sampling.temperature == 0 or not self._coupled:
            return log_q.exp() if self._noise == 1 else (log_q / self._noise).softmax(dim=-1)
        depths = sorted({found.depths[node] for node in frontier})
        positions = [generated + depth for depth in depths]
        noise = gumbel(
            sampling.seed, self._request.noise_key, self._epoch, positions, log_q.shape[-1], log_q.device
        )  # [depths, V]
        rows = [depths.index(found.depths[node]) for node in frontier]
        return (sampling.temperature / self._noise * (log_q.to(noise.dtype) + noise[rows])).softmax(dim=-1)

    def _frontier(self, found: Candidates, best: Sequence[int], room: int) -> list[int]:
        """What the next look extends: the best nodes that no look has extended and that may have children."""
        ends = self._request.end_tokens if self._coupled else frozenset()
        open_ = [
            node
            for node in best
            if found.depths[node] < room and found.tokens[node] not in ends and found.path(node) not in self._opinions
        ]
        open_ = sorted(open_, key=lambda node: -found.scores[node])[: self._settings.width]
        if open_ and found.scores[open_[0]] < self._settings.confidence:
            return []
        return open_

    def _draw(self, nodes: int, room: int, skip: frozenset[int]) -> Generator[Look, torch.Tensor, Draft]:
        """A tree of draws; how many are drawn below which node is settled before they are drawn."""
        settings = self._settings
        found = Candidates()
        drawn: dict[int, torch.Tensor] = {}
        level = [ROOT]
        for size in level_sizes(nodes, min(settings.depth, room)):
            frontier = ([ROOT] if level == [ROOT] else self._frontier(found, level, room))[:size]
            if not frontier or sum(found.scores[node] for node in frontier) <= settings.gain:
                break
            log_q = yield from self._look(found, frontier, skip, None)
            self._opinions.add([found.path(node) for node in frontier], log_q.exp())
            count = max(1, min(size // len(frontier), settings.branch))
            level = []
            for row, (node, tokens) in enumerate(
                zip(frontier, self._drawer.draw(log_q, count, self._epoch), strict=True)
            ):
                drawn[node - 1] = log_q[row]
                for rank, token in enumerate(tokens):
                    score = _DRAW * (1 - _DRAW) ** rank
                    level.append(found.add(node, token, found.scores[node] * score, class_of(rank, score)))
        return replace(found.draft(range(1, len(found.tokens))), drawn=drawn)
