"""Findings of the literature on kNN-LM, each held against one diagnosis: confirmed, not, or undecided.

Wang and others, "KNN-LM Does Not Improve Open-ended Text Generation", EMNLP 2023, https://arxiv.org/abs/2305.14625;
Nishida and others, https://arxiv.org/abs/2503.22426, on frequent tokens. The claims are those of the papers' abstracts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SEED, FREQUENT = "arXiv 2305.14625", "arXiv 2503.22426"


def verdict(interval: Mapping[str, float | None] | None, border: float, *, above: bool) -> str:
    """``confirmed`` if the interval lies wholly on the claimed side of a border, ``not`` if on the other.

    Args:
        interval: Estimate with both ends.
        border: What it is compared with.
        above: Whether the claim is that it lies above.
    """
    if interval is None or interval["low"] is None or interval["high"] is None:
        return "undecided"
    if interval["low"] > border:
        return "confirmed" if above else "not"
    if interval["high"] < border:
        return "not" if above else "confirmed"
    return "undecided"


def findings(result: Mapping[str, Any], frequent: Mapping[str, float | None] | None) -> list[dict[str, Any]]:
    """The findings, one by one.

    Args:
        result: The diagnosis so far.
        frequent: By how much tokens that are frequent in the memory gain more than rare ones, in nats.
    """
    ledger, loss, growth, quality = (result[name] for name in ("ledger", "loss", "growth", "quality"))
    top = ledger["top"][-1]
    found = [
        _one("The votes lower perplexity.", SEED, "gain in nats a token", loss["gain"], 0.0, above=True),
        _one("Most tokens become less probable.", SEED, "share of tokens that lose", ledger["hurt"], 0.5, above=True),
        _one(
            f"The gain is made by few tokens: all but the {top['share']:.0%} that gain most lose on average.",
            SEED,
            "mean gain of the others, in nats",
            top["rest"],
            0.0,
            above=False,
        ),
    ]
    if frequent is not None:
        found.append(
            _one(
                "Tokens that are frequent in the memory gain more than rare ones.",
                FREQUENT,
                "gain of the more frequent half less that of the other, in nats",
                frequent,
                0.0,
                above=True,
            )
        )
    if growth is not None:
        run = "knn_lm"
        found += [
            _one(
                "On text that kNN-LM wrote, the votes' entropy grows faster than the model's.",
                SEED,
                "difference of slopes, in nats per 100 tokens",
                growth["slopes"][run]["apart"],
                0.0,
                above=True,
            ),
            _one(
                "Generated text makes the votes more uncertain than it makes the model.",
                SEED,
                "votes' entropy beyond that on gold text, less the model's, in nats",
                growth["difference"][run],
                0.0,
                above=True,
            ),
        ]
    if quality is not None:
        if (apart := quality["mauve_apart"]) is not None:
            name = quality["mauve"]["encoder"]
            claim = "Texts written with the votes are not more like gold text."
            told = f"MAUVE-with-{name} of kNN-LM less that of the model"
            found.append(_no_better(claim, told, apart))
        claim = "Texts written with the votes do not repeat themselves less."
        found.append(_no_better(claim, "diversity of kNN-LM's texts less that of the model's", quality["apart"]))
    return found


def _one(
    claim: str, source: str, measured: str, interval: Mapping[str, float | None], border: float, *, above: bool
) -> dict[str, Any]:
    return {
        "claim": claim,
        "source": source,
        "measured": measured,
        "interval": dict(interval),
        "border": border,
        "verdict": verdict(interval, border, above=above),
    }


def _no_better(claim: str, measured: str, interval: Mapping[str, float | None]) -> dict[str, Any]:
    """A claim of no improvement: shown by a loss, refuted by a gain; no difference leaves it open."""
    return _one(claim, SEED, measured, interval, 0.0, above=False)
