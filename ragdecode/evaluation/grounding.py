"""Builds grounding spaces for the rule `caad`: true answers are read, and what the model predicts in them is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ragdecode.errors import InputError
from ragdecode.models.progress import Progress, silent

if TYPE_CHECKING:
    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.grounding.space import GroundingSpace
    from ragdecode.evaluation.heads.questions import Asked
    from ragdecode.models.causal import CausalModel
    from ragdecode.models.encoder import Encoder
    from ragdecode.spec.prompt import PromptSpec


@dataclass(frozen=True)
class Grounded:
    """A grounding space, and what became of the questions.

    Attributes:
        space: The space.
        questions: Questions that gave entries.
        too_long: Questions whose prompt and answer do not fit the model's window.
    """

    space: GroundingSpace
    questions: int
    too_long: int


def ground(
    model: CausalModel,
    backend: Backend,
    encoder: Encoder,
    questions: Sequence[Asked],
    prompt: PromptSpec,
    *,
    window: int = 8,
    top: int = 256,
    progress: Progress = silent,
) -> Grounded:
    """Have the model read the first golden answer of each question, and keep an entry for each of its tokens.

    An entry is the vector of the last ``window`` tokens before the token, prompt included, and what the model predicts
    there. Questions are asked without passages.

    Args:
        model: The model.
        backend: The same, ready to run.
        encoder: Makes the vectors; they have length 1.
        questions: What is asked; annotated with true answers.
        prompt: How it is asked.
        window: Tokens of text that a vector is of.
        top: Tokens kept of a prediction; the others share what is left.
        progress: Told after every question.

    Raises:
        InputError: The encoder's vectors have other lengths, or no question fits.
    """
    import numpy as np

    from ragdecode.decoding.grounding.space import GroundingSpace, compact
    from ragdecode.pipeline.prompts import PromptRenderer
    from ragdecode.pipeline.views import ViewPlan

    if not encoder.normalised:
        raise InputError(
            f"the vectors of the encoder '{encoder.spec.name}' have no common length: their inner product is no cosine",
            hint="take an encoder that normalises, such as minilm",
        )
    view = ViewPlan("with_context", prompt)
    renderer = PromptRenderer([view], model.tokenizer)
    texts: list[str] = []
    parts = []
    kept = too_long = 0
    for number, asked in enumerate(questions):
        progress("reading answers", number, len(questions))
        ids = list(renderer.render([view], asked.question, ())["with_context"].ids)
        answer = model.tokenizer.encode(asked.golden[0], special=False)
        if len(ids) + len(answer) > min(model.max_positions, backend.max_positions):
            too_long += 1
            continue
        parts.append(compact(_predictions(backend, ids, answer, model.vocab_size), top))
        whole = [*ids, *answer]
        texts += [model.tokenizer.decode(whole[:place][-window:]) for place in range(len(ids), len(whole))]
        kept += 1
    if not texts:
        raise InputError("no question and answer fit the model's window", hint="give shorter ones")
    vectors = encoder.encode(texts, progress=progress, role="query")
    tokens, log_probs, rest = (np.concatenate(tables) for tables in zip(*parts, strict=True))
    space = GroundingSpace(
        keys=vectors.astype(np.float16),
        tokens=tokens,
        log_probs=log_probs,
        rest=rest,
        model=backend.fingerprint,
        tokenizer=model.tokenizer.fingerprint,
        encoder=encoder.fingerprint,
        encoder_name=encoder.spec.name or encoder.path.name,
        window=window,
        vocab_size=model.vocab_size,
        description=f"{kept} answers under {model.spec.name or model.path.name}, {len(texts)} entries.",
    )
    return Grounded(space, kept, too_long)


def _predictions(backend: Backend, prompt: Sequence[int], answer: Sequence[int], vocab_size: int) -> Any:
    """Log-probabilities of what follows at each token of the answer ``[m, V]``."""
    import torch

    from ragdecode.decoding.backend import Segment

    tokens = [*prompt, *answer[:-1]]
    row = backend.open_row(len(tokens))
    try:
        wanted = range(len(prompt) - 1, len(tokens))
        logits = backend.forward([Segment(row, 0, tokens, range(len(tokens)), None, wanted)]).logits[:, :vocab_size]
    finally:
        backend.close_row(row)
    wide = logits if logits.dtype is torch.float64 else logits.float()
    return torch.log_softmax(wide, dim=-1).cpu().numpy()
