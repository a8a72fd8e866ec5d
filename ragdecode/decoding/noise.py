"""Gumbel noise that depends on nothing but (seed, request, epoch, position).

The token at output position t is ``argmax(log p_t + g_t)``: an exact sample of ``p_t`` (the Gumbel-max trick), and a
deterministic function of it. Drafted and undrafted runs, alone or in a batch, pick the same tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

_GOLDEN = 0x9E3779B97F4A7C15


def _signed(value: int) -> int:
    """The 64-bit pattern as torch's signed integer."""
    value &= 0xFFFFFFFFFFFFFFFF
    return value - (1 << 64) if value >= 1 << 63 else value


def _shift(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical right shift of 64-bit patterns."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def gumbel(
    seed: int, request: str, epoch: int, positions: Sequence[int], vocab_size: int, device: torch.device
) -> torch.Tensor:
    """Standard Gumbel noise ``[len(positions), V]`` in float64 (in float32 where the device knows no other).

    The generator is SplitMix64 (Steele, Lea and Flood 2014) used by counter: stream key from a hash of (seed,
    request, epoch, position), counter from the token id. Integer arithmetic, hence the same bits on every device.
    """
    if device.type == "mps":  # neither the integers' products nor float64 are to be had there
        return gumbel(seed, request, epoch, positions, vocab_size, torch.device("cpu")).float().to(device)
    keys = [f"{seed}\x00{request}\x00{epoch}\x00{position}" for position in positions]
    return -torch.log(-torch.log(_uniform(keys, vocab_size, device)))


def uniform(
    seed: int, request: str, epoch: int, positions: Sequence[int], count: int, device: torch.device
) -> torch.Tensor:
    """Uniform numbers in (0, 1) ``[len(positions), count]`` for tests at these positions; independent of `gumbel`.

    float64, float32 where the device knows no other.
    """
    if device.type == "mps":
        return uniform(seed, request, epoch, positions, count, torch.device("cpu")).float().to(device)
    keys = [f"{seed}\x00{request}\x00{epoch}\x00{position}\x00test" for position in positions]
    return _uniform(keys, count, device)


def _uniform(streams: Sequence[str], count: int, device: torch.device) -> torch.Tensor:
    """Uniform numbers in (0, 1), float64 ``[len(streams), count]``; the first ones of each named stream."""
    keys = []
    for stream in streams:
        text = stream.encode("utf-8", "surrogatepass")
        keys.append(_signed(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")))
    key = torch.tensor(keys, dtype=torch.int64, device=device)[:, None]
    counter = torch.arange(1, count + 1, dtype=torch.int64, device=device)
    x = key + counter * _signed(_GOLDEN)
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    x = x ^ _shift(x, 31)
    # one bit more would round up to 1, and the noise to infinity
    return (_shift(x, 12).double() + 0.5) * 2.0**-52
