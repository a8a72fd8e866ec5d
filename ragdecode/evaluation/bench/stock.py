"""The generation loop of transformers as a contender: same weights, same prompt, same stop tokens, plain rule."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ragdecode.decoding.request import TARGET
from ragdecode.evaluation.bench.contender import Contender, Run
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.pipeline.request import DecodeRequest

if TYPE_CHECKING:
    import torch


class StockContender(Contender):
    """``model.generate`` on the ``with_context`` prompt.

    Args:
        pipeline: Gives prompts, stop tokens and weights.
        lookup_tokens: Tokens that its own prompt lookup proposes at once; None is greedy without drafts.
    """

    def __init__(self, pipeline: Pipeline, lookup_tokens: int | None = None) -> None:
        self._pipeline = pipeline
        self._lookup_tokens = lookup_tokens

    def prepare(self, request: DecodeRequest) -> None:
        """See `Contender.prepare`."""
        self._pipeline.prepare(request)
        self._pipeline.model.hf_model()

    def run(self, request: DecodeRequest, max_new_tokens: int | None = None) -> Run:
        """See `Contender.run`. A step is one call of the stopping criteria, which is one pass of the model."""
        import torch
        from transformers import GenerationConfig, StoppingCriteriaList

        prepared = self._pipeline.prepare(request).request
        model = self._pipeline.model.hf_model()
        prompt = torch.tensor([list(prepared.views[TARGET].prompt)], device=model.device)
        settings: dict[str, Any] = {
            "do_sample": False,
            "num_beams": 1,
            "repetition_penalty": 1.0,
            "max_new_tokens": max_new_tokens or prepared.max_new_tokens,
            "eos_token_id": sorted(prepared.end_tokens) or None,
            "pad_token_id": min(prepared.end_tokens, default=0),
        }
        if self._lookup_tokens is not None:
            settings["prompt_lookup_num_tokens"] = self._lookup_tokens
        times: list[float] = []
        criteria = StoppingCriteriaList([_clock(times)])
        started = time.perf_counter()
        with torch.inference_mode():
            output = model.generate(  # type: ignore[operator]
                prompt,
                attention_mask=torch.ones_like(prompt),
                generation_config=GenerationConfig(**settings),
                stopping_criteria=criteria,
            )
        seconds = time.perf_counter() - started
        new: Sequence[int] = output[0, prompt.shape[1] :].tolist()
        ends = [place for place, token in enumerate(new) if token in prepared.end_tokens]
        tokens = tuple(new[: ends[0]] if ends else new)
        committed = len(tokens) + bool(ends)
        return Run(tokens, committed, len(times), times[0] - started if times else seconds, seconds)

    def logits(self, request: DecodeRequest, answer: Sequence[int]) -> torch.Tensor:
        """Logits ``[V]`` of the token after the prompt and the first tokens of an answer, float32."""
        import torch

        model = self._pipeline.model.hf_model()
        prompt = self._pipeline.prepare(request).request.views[TARGET].prompt
        ids = torch.tensor([[*prompt, *answer]], device=model.device)
        with torch.inference_mode():
            row: torch.Tensor = model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1].float()
        return row


def _clock(times: list[float]) -> Callable[..., torch.Tensor]:
    """A stopping criterion that stops nothing and notes when it was called."""
    import torch
    from transformers import StoppingCriteria

    class Clock(StoppingCriteria):
        def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
            times.append(time.perf_counter())
            return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)

    return Clock()
