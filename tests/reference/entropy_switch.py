"""Entropy-adaptive decoding from arXiv 2502.06833: whole prompts re-run, one model a token, plain Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from tests.reference.naive import next_log_probs


def decode(
    large: tuple,
    small: tuple,
    *,
    threshold: float,
    window: int = 5,
    stay: int = 10,
    begin: str = "large",
    tokens: int,
    temperature: float = 0.0,
    noise: Callable[[int], torch.Tensor] | None = None,
    after: Callable[[torch.Tensor], torch.Tensor] = lambda scores: scores,
    given: Sequence[int] = (),
) -> tuple[list[int], list[torch.Tensor], list[str]]:
    """The tokens, the log-probabilities of each [V], and which model made it.

    Args:
        large: Model and prompt.
        small: Model and prompt.
        threshold: Bits.
        window: Steps that are averaged.
        stay: Tokens at least after a switch.
        begin: The model that begins.
        tokens: How many to decode.
        temperature: Of sampling.
        noise: Gumbel noise of a position.
        after: What is made of the log-probabilities of the model that ran.
        given: The first tokens, if they are not the best ones.
    """
    out: list[int] = []
    rows: list[torch.Tensor] = []
    who: list[str] = []
    entropies: list[float] = []
    current, switched_at = begin, None
    for position in range(tokens):
        if len(entropies) >= window and (switched_at is None or position - switched_at >= stay):
            mean = sum(entropies[-window:]) / window
            if current == "large" and mean < threshold:
                current, switched_at = "small", position
            elif current == "small" and mean > threshold:
                current, switched_at = "large", position
        model, prompt = large if current == "large" else small
        log_probs = next_log_probs(model, [*prompt, *out])
        entropies.append(
            float(torch.distributions.Categorical(logits=log_probs).entropy() / torch.log(torch.tensor(2.0).double()))
        )
        log_probs = torch.log_softmax(after(log_probs), -1)
        scores = log_probs if temperature == 0 else log_probs / temperature + noise(position).to(log_probs)
        token = given[position] if position < len(given) else int(scores.argmax())
        out.append(token)
        rows.append(log_probs)
        who.append(current)
    return out, rows, who
