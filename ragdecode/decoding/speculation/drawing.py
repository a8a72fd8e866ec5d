"""Draws from a drafter's distribution, for verification by rejection."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.request import Request


class Drawer:
    """Draws without replacement, by noise that is used once and shared with nothing.

    So they are independent of verification, whose noise has another stream, and of all draws before them.

    Args:
        request: Whose seed and name key the noise.
        view: The view that is drawn from; each has a stream of its own.
    """

    def __init__(self, request: Request, view: str) -> None:
        self._seed = request.sampling.seed
        self._stream = f"{request.noise_key}\x00draws from {view}"
        self._drawn = 0

    def draw(self, log_q: torch.Tensor, count: int, epoch: int) -> list[list[int]]:
        """``count`` draws from each distribution ``[F, V]``, in the order of drawing; fewer if fewer are possible.

        The best tokens under Gumbel noise, in order, are draws without replacement (Gumbel top-k; Kool et al., arXiv
        1903.06059).
        """
        import torch

        from ragdecode.decoding.noise import gumbel

        rows = range(self._drawn, self._drawn + log_q.shape[0])
        self._drawn += log_q.shape[0]
        noise = gumbel(self._seed, self._stream, epoch, rows, log_q.shape[-1], log_q.device)
        top = (log_q.to(noise.dtype) + noise).topk(min(count, log_q.shape[-1]), dim=-1)
        tokens, values = torch.stack([top.indices.to(top.values), top.values]).tolist()
        return [
            [int(token) for token, value in zip(*row, strict=True) if value > float("-inf")]
            for row in zip(tokens, values, strict=True)
        ]


def level_sizes(nodes: int, depth: int) -> list[int]:
    """How many nodes each level gets, before anything is drawn; the first ones get what is left over."""
    each, more = divmod(nodes, depth)
    return [size for level in range(depth) if (size := each + (level < more))]
