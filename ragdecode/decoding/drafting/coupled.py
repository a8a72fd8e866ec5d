"""The order in which verification's own noise puts a few tokens, without the noise of the whole vocabulary."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping

from ragdecode.decoding.request import Sampling

_MASK = 0xFFFFFFFFFFFFFFFF


def gumbel_at(seed: int, request: str, epoch: int, position: int, tokens: Iterable[int]) -> list[float]:
    """`ragdecode.decoding.noise.gumbel` at one position for some tokens; equal but for the last bits."""
    text = f"{seed}\x00{request}\x00{epoch}\x00{position}".encode("utf-8", "surrogatepass")
    key = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
    noise = []
    for token in tokens:
        x = (key + (token + 1) * 0x9E3779B97F4A7C15) & _MASK
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        x = (x ^ x >> 27) * 0x94D049BB133111EB & _MASK
        x ^= x >> 31
        noise.append(-math.log(-math.log(((x >> 12) + 0.5) * 2.0**-52)))
    return noise


def draw(probs: Mapping[int, float], sampling: Sampling, request: str, epoch: int, position: int) -> list[int]:
    """Tokens in the order in which verification would pick them, were these its probabilities.

    At temperature 0 by probability; above, Gumbel-top-k with the position's noise, after temperature, top-k, top-p
    and min-p: what these cut off comes last. So a draft agrees with verification wherever the distributions do
    (arXiv 2504.15475), and drafting stays without influence on what is picked.
    """
    ranked = sorted((token for token, prob in probs.items() if prob > 0), key=lambda token: (-probs[token], token))
    if sampling.temperature == 0 or not ranked:
        return ranked
    best = math.log(probs[ranked[0]])
    scores = {token: (math.log(probs[token]) - best) / sampling.temperature for token in ranked}
    weights = [math.exp(scores[token]) for token in ranked]
    total, before, kept = sum(weights), 0.0, 0
    for rank, weight in enumerate(weights):
        if (0 < sampling.top_k <= rank) or before >= sampling.top_p * total or weight < sampling.min_p:
            break
        before, kept = before + weight, kept + 1
    noise = gumbel_at(sampling.seed, request, epoch, position, ranked[:kept])
    perturbed = {token: scores[token] + extra for token, extra in zip(ranked, noise, strict=False)}
    return [*sorted(ranked[:kept], key=lambda token: -perturbed[token]), *ranked[kept:]]
