"""Find a number in a long text: the passkey task of LongEmbed (arXiv 2404.12096) for a sentence encoder.

Each of N texts says somewhere what the pass key of one person is, in the midst of the same filler; each question asks
for one person. Accuracy@1 is the share of questions whose own text is nearest. One run, all treatments of long texts,
texts of 1, 2 and 4 windows.

Usage: python benchmarks/long_inputs.py --model minilm --texts 50 --out long_inputs.json
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import numpy as np

from ragdecode.models.catalogue import find_model
from ragdecode.models.encoder import Encoder, load_encoder
from ragdecode.models.tokenizer import Tokenizer

FILLER = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. "
FIRST = ("Alice", "Bruno", "Chloe", "David", "Elena", "Felix", "Greta", "Hugo", "Irene", "Jonas")
LAST = ("Adams", "Baker", "Cooper", "Dixon", "Ellis", "Foster", "Graham", "Harris", "Irving", "Jensen")
MODES = ("cut", "chunks_mean", "grouped", "recurrent", "interpolated")


def passkeys(tokenizer: Tokenizer, tokens: int, count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Questions and texts of at most ``tokens`` tokens, special ones included; the key stands anywhere in its text."""
    draw = random.Random(seed)  # noqa: S311
    names = draw.sample([f"{first} {last}" for first in FIRST for last in LAST], count)
    room = tokens - 2

    def length(text: str) -> int:
        return len(tokenizer.encode(text, special=False))

    texts = []
    for at, name in enumerate(names):
        needle = f"The pass key of {name} is {draw.randrange(10_000, 100_000)}. Remember it. "
        repeats = (room - length(needle)) // length(FILLER)
        before = round(repeats * (at + 0.5) / count)  # depths spread evenly
        texts.append(FILLER * before + needle + FILLER * (repeats - before))
    return [f"What is the pass key of {name}?" for name in names], texts


def nearest(scores: np.ndarray) -> float:
    """Accuracy@1 of scores ``[questions, texts]``."""
    return float((scores.argmax(axis=1) == np.arange(len(scores))).mean())


def accuracy(encoder: Encoder, questions: list[str], texts: list[str]) -> float:
    """With one vector a text."""
    return nearest(encoder.encode(questions, role="query") @ encoder.encode(texts).T)


def accuracy_of_best_chunk(encoder: Encoder, questions: list[str], texts: list[str]) -> float:
    """With the best of a text's chunks: what a store does whose passages are no longer than the window."""
    chunks, owners = encoder.encode_chunks(texts)
    scores = encoder.encode(questions, role="query") @ chunks.T
    starts = np.searchsorted(owners, np.arange(len(texts)))
    return nearest(np.maximum.reduceat(scores, starts, axis=1))


def main() -> None:
    """Print a table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="minilm", help="a sentence encoder (default: minilm)")
    parser.add_argument("--texts", type=int, default=50, help="texts and questions, at most 100 (default: 50)")
    parser.add_argument("--times", type=int, nargs="+", default=[1, 2, 4], help="lengths in windows (default: 1 2 4)")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    args = parser.parse_args()
    spec = find_model(args.model)
    table: dict[str, dict[int, float]] = {}
    for mode in (*MODES, "best chunk"):
        long = "chunks_mean" if mode == "best chunk" else mode
        encoder = load_encoder(spec.model_copy(update={"long": long}), device="cpu")
        for times in args.times:
            asked = passkeys(encoder.tokenizer, times * encoder.max_tokens, args.texts)
            measure = accuracy_of_best_chunk if mode == "best chunk" else accuracy
            table.setdefault(mode, {})[times] = measure(encoder, *asked)
        row = "  ".join(f"{times}x {value:.2f}" for times, value in table[mode].items())
        print(f"{mode:14}{row}", flush=True)
    if args.out:
        args.out.write_text(json.dumps({"model": args.model, "texts": args.texts, "accuracy@1": table}, indent=2))


if __name__ == "__main__":
    main()
