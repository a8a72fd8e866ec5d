"""The naive reference against published and hand-computed values."""

import math

import pytest
import torch

from tests.decoding.tiny_models import tiny
from tests.reference.naive import cad, greedy, next_log_probs, plain, warped

SCORES = torch.tensor([0.5, 0.2, 0.2, 0.1], dtype=torch.float64).log()


@pytest.mark.parametrize(
    ("alpha", "wanted"),
    [
        (0.5, [0.817808, 0.110678, 0.052281, 0.019233]),
        (1.0, [0.916512, 0.045630, 0.027676, 0.010182]),
        (0.0, [0.643914, 0.236883, 0.087144, 0.032059]),
    ],
)
def test_cad_has_its_golden_values(alpha: float, wanted: list[float]) -> None:
    views = {
        "with_context": torch.tensor([2.0, 1, 0, -1], dtype=torch.float64).log_softmax(-1),
        "without_context": torch.tensor([0.5, 1.5, 0, -1], dtype=torch.float64).log_softmax(-1),
    }
    assert cad(alpha)(views).softmax(-1).tolist() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ((1.0, 0, 1.0, 0.0), [0.5, 0.2, 0.2, 0.1]),
        ((0.5, 0, 1.0, 0.0), [25 / 34, 4 / 34, 4 / 34, 1 / 34]),
        ((1.0, 1, 1.0, 0.0), [1, 0, 0, 0]),
        ((1.0, 2, 1.0, 0.0), [5 / 9, 2 / 9, 2 / 9, 0]),  # the tie stays in
        ((1.0, 0, 0.45, 0.0), [1, 0, 0, 0]),
        ((1.0, 0, 0.6, 0.0), [5 / 9, 2 / 9, 2 / 9, 0]),
        ((1.0, 0, 0.95, 0.0), [0.5, 0.2, 0.2, 0.1]),
        ((1.0, 0, 1.0, 0.3), [5 / 9, 2 / 9, 2 / 9, 0]),
        ((1.0, 3, 0.5, 0.0), [1, 0, 0, 0]),  # 5/9 is enough once the fourth is gone
    ],
)
def test_sampling_transforms_follow_their_definitions(settings: tuple, wanted: list[float]) -> None:
    assert warped(SCORES, *settings).tolist() == pytest.approx(wanted, abs=1e-12)


def test_greedy_follows_the_stock_model_and_stops() -> None:
    model = tiny("llama")
    prompt = [5, 6, 7]
    views = {"with_context": (model, prompt)}
    tokens, rows = greedy(views, plain(), (), 6)
    stock = model.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, 3), max_new_tokens=6, do_sample=False, pad_token_id=0
    )[0, 3:]
    end = stock.tolist().index(2) if 2 in stock.tolist() else 6
    assert tokens[:end] == stock.tolist()[:end]
    assert rows.shape == (6, 97)
    assert torch.allclose(rows[2], next_log_probs(model, prompt + tokens[:2]), rtol=0, atol=1e-12)
    stop = tokens.index(tokens[3])
    assert greedy(views, plain(), {tokens[3]}, 6)[0] == tokens[:stop]


def test_constraint_penalty_and_noise_act() -> None:
    model = tiny("llama")
    views = {"with_context": (model, [5, 6, 7])}
    first = greedy(views, plain(), (), 1)[0][0]

    def never_first(_: list[int]) -> torch.Tensor:
        return torch.arange(97) != first

    assert greedy(views, plain(), (), 4, allowed=never_first)[0].count(first) == 0
    assert greedy(views, plain(), (), 4, allowed=lambda _: torch.zeros(97, dtype=torch.bool))[0] == []
    assert len(set(greedy(views, plain(), (), 12, repetition_penalty=10.0)[0])) == 12

    def pull(position: int) -> torch.Tensor:
        return torch.where(torch.arange(97) == 10 + position, 1e3, 0.0)

    assert greedy(views, plain(), (), 3, temperature=1.0, noise=pull)[0] == [10, 11, 12]
    assert greedy(views, plain(), (), 1, temperature=1.0, top_k=1, noise=pull)[0] == [first]
    assert math.isfinite(float(greedy(views, plain(), (), 1)[1].max()))
