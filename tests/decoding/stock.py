"""What tests of backends compare with: stock models over whole rows, without a cache."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from ragdecode.decoding.backend import Segment
from tests.decoding.tiny_models import FAMILIES

EXACT = [name for name in FAMILIES if name != "falcon_alibi"]

# Gemma 2 caps attention scores, which sdpa cannot do; eager attention takes its softmax in float32.
TOLERANCE = {"gemma2": 1e-6}


def stock_logits(model: PreTrainedModel, tokens: list[int]) -> torch.Tensor:
    """Logits [V] after the last token: full row, no cache, no mask of ours."""
    with torch.no_grad():
        return model(torch.tensor([tokens]), use_cache=False).logits[0, -1]


def chain(row: int, base: int, tokens: list[int], outputs: list[int] | None = None) -> Segment:
    return Segment(row, base, tokens, range(len(tokens)), None, [len(tokens) - 1] if outputs is None else outputs)


def assert_close(got: torch.Tensor, wanted: torch.Tensor, tolerance: float = 1e-9) -> None:
    assert got.shape == wanted.shape
    assert torch.isfinite(got).all()
    assert (got - wanted).abs().max().item() <= tolerance
