"""The generation loop of transformers as a contender: same weights, same prompt, same stop tokens, plain rule."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ragdecode.decoding.request import TARGET, Request
from ragdecode.evaluation.bench.contender import Contender, Run, Turn
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.pipeline.request import DecodeRequest

if TYPE_CHECKING:
    import torch


class StockContender(Contender):
    """``model.generate`` on the ``with_context`` prompt; several prompts are padded on the left.

    Args:
        pipeline: Gives prompts, stop tokens, sampling and weights.
        lookup_tokens: Tokens that its own prompt lookup proposes at once; None is decoding without drafts.
    """

    def __init__(self, pipeline: Pipeline, lookup_tokens: int | None = None) -> None:
        self.pipeline = pipeline
        self._lookup_tokens = lookup_tokens
        self.alone = lookup_tokens is not None

    def prepare(self, request: DecodeRequest) -> None:
        """See `Contender.prepare`."""
        self.pipeline.prepare(request)
        self.pipeline.model.hf_model()

    def turn(self, requests: Sequence[DecodeRequest], max_new_tokens: int | None = None) -> Turn:
        """See `Contender.turn`. A step is one call of the stopping criteria, which is one pass of the model."""
        import torch
        from transformers import GenerationConfig, StoppingCriteriaList

        prepared = [self.pipeline.prepare(request).request for request in requests]
        asked, model = prepared[0], self.pipeline.model.hf_model()
        padding = min(asked.end_tokens, default=0)
        prompts = [list(item.views[TARGET].prompt) for item in prepared]
        longest = max(map(len, prompts))
        rows = [[padding] * (longest - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        settings = self._settings(asked) | {
            "max_new_tokens": max_new_tokens or asked.max_new_tokens,
            "eos_token_id": sorted(asked.end_tokens) or None,
            "pad_token_id": padding,
        }
        times: list[float] = []
        criteria = StoppingCriteriaList([_clock(times)])
        ids, seen = (torch.tensor(table, device=model.device) for table in (rows, mask))
        torch.manual_seed(asked.sampling.seed)
        started = time.perf_counter()
        with torch.inference_mode():
            output = model.generate(  # type: ignore[operator]
                ids,
                attention_mask=seen,
                generation_config=GenerationConfig(**settings),
                stopping_criteria=criteria,
                **self._assistance(),
            )
        seconds = time.perf_counter() - started
        first = times[0] - started if times else seconds
        answers = [_answer(new, asked) for new in output[:, longest:].tolist()]
        # of a batch, every answer had as many passes as it has tokens: the rest were for the others
        runs = [
            Run(tokens, committed, len(times) if len(answers) == 1 else committed, first, seconds)
            for tokens, committed in answers
        ]
        decoded = sum(max(len(run.tokens) - 1, 0) for run in runs)
        return Turn(runs, seconds, decoded, seconds - first)

    def _settings(self, asked: Request) -> dict[str, Any]:
        """How the next token is picked."""
        sampling = asked.sampling
        settings: dict[str, Any] = {"do_sample": False, "num_beams": 1, "repetition_penalty": 1.0}
        if sampling.temperature > 0:
            settings |= {
                "do_sample": True,
                "temperature": sampling.temperature,
                "top_k": sampling.top_k,
                "top_p": sampling.top_p,
                "min_p": sampling.min_p or None,
            }
        if self._lookup_tokens is not None:
            settings["prompt_lookup_num_tokens"] = self._lookup_tokens
        return settings

    def _assistance(self) -> dict[str, Any]:
        """More arguments of ``generate``."""
        return {}

    def logits(self, request: DecodeRequest, answer: Sequence[int]) -> torch.Tensor:
        """Logits ``[V]`` of the token after the prompt and the first tokens of an answer, float32."""
        import torch

        model = self.pipeline.model.hf_model()
        prompt = self.pipeline.prepare(request).request.views[TARGET].prompt
        ids = torch.tensor([[*prompt, *answer]], device=model.device)
        with torch.inference_mode():
            row: torch.Tensor = model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1].float()
        return row


def _answer(new: Sequence[int], asked: Request) -> tuple[tuple[int, ...], int]:
    """The tokens before the first end token, and how many were committed, that one included."""
    ends = [place for place, token in enumerate(new) if token in asked.end_tokens]
    tokens = tuple(new[: ends[0]] if ends else new)
    return tokens, len(tokens) + bool(ends)


def _clock(times: list[float]) -> Callable[..., torch.Tensor]:
    """A stopping criterion that stops nothing and notes when it was called."""
    import torch
    from transformers import StoppingCriteria

    class Clock(StoppingCriteria):
        def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
            times.append(time.perf_counter())
            return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)

    return Clock()
