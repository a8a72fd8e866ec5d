"""The learned gate of kNN-LM: from what the model computes at a token, how much of a memory to mix in.

He, Neubig and Berg-Kirkpatrick, "Efficient Nearest Neighbor Language Models", EMNLP 2021,
https://arxiv.org/abs/2109.04212. A network with the log-weights of both sides as output, trained on
``-log(w_lm p_lm(y) + w_knn p_knn(y)) + 0.05 mean(w_knn)``. It looks at nothing that needs a search, so that there is
none for tokens which it leaves to the model. The paper's features are kept, but for n-grams: frequency and fertility
are those of the last token alone. How the published code scales its features is unconfirmed; here all are standardised.
Shapes: N nodes, W width of a state, V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from ragdecode.errors import InputError

#: what the metadata of a gate's file says that it is
FORMAT = "ragdecode-knn-gate-1"
#: entropy and log-probability of the best token under the model; logarithms of how often the last token stands in the
#: memory, and of how many different tokens follow it there, one added to each
SCALARS = 4


class Gate(nn.Module):
    """A network that weighs a memory against the model.

    Args:
        width: Numbers of a state (W).
        vocab_size: Tokens (V).
        hidden: Units of a layer.
        layers: Linear layers, the last one included.
        dropout: While it is trained.

    Attributes:
        frequency: ``log(1 + n)`` of each token, n how often it stands in the memory ``[V]``.
        fertility: The same of how many different tokens follow it ``[V]``.
        floor: Weights below count as 0, and are not searched for.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    frequency: torch.Tensor
    fertility: torch.Tensor
    floor: torch.Tensor

    def __init__(self, width: int, vocab_size: int, hidden: int = 128, layers: int = 5, dropout: float = 0.2) -> None:
        super().__init__()
        self.shape = {"width": width, "vocab_size": vocab_size, "hidden": hidden, "layers": layers}
        self.project = nn.Sequential(
            nn.Linear(SCALARS, hidden), nn.LeakyReLU(), nn.Linear(hidden, hidden), nn.LeakyReLU()
        )
        parts: list[nn.Module] = []
        size = width + hidden
        for _ in range(layers - 1):
            parts += [nn.Linear(size, hidden), nn.ReLU(), nn.Dropout(dropout)]
            size = hidden
        self.network = nn.Sequential(*parts, nn.Linear(size, 2))
        self.register_buffer("mean", torch.zeros(width + SCALARS))
        self.register_buffer("scale", torch.ones(width + SCALARS))
        self.register_buffer("frequency", torch.zeros(vocab_size))
        self.register_buffer("fertility", torch.zeros(vocab_size))
        self.register_buffer("floor", torch.zeros(()))

    def features(self, states: torch.Tensor, log_probs: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """What it looks at ``[N, W + 4]``, as it is.

        Args:
            states: The model's states ``[N, W]``, of the kind that the memory's keys are of.
            log_probs: What it predicts ``[N, V]``.
            last: The last token ``[N]``.
        """
        probs = log_probs.exp()
        entropy = -torch.where(probs > 0, probs * log_probs, 0.0).sum(dim=-1)
        return self.joined(states, entropy, log_probs.amax(dim=-1), last)

    def joined(
        self, states: torch.Tensor, entropy: torch.Tensor, top: torch.Tensor, last: torch.Tensor
    ) -> torch.Tensor:
        """`features`, from the entropy of what the model predicts and the log-probability of its best token ``[N]``."""
        scalars = [entropy, top, self.frequency[last], self.fertility[last]]
        columns = torch.stack([one.to(self.mean.dtype) for one in scalars], dim=-1)
        return torch.cat([states.to(self.mean.dtype), columns], dim=-1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Log-weights of model and memory ``[N, 2]``, of `features`."""
        known = (features - self.mean) / self.scale
        scalars = self.project(known[:, -SCALARS:])
        found: torch.Tensor = torch.log_softmax(self.network(torch.cat([known[:, :-SCALARS], scalars], dim=-1)), dim=-1)
        return found

    def weight(self, states: torch.Tensor, log_probs: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """Weight of the memory ``[N]``, from 0 to below 1; see `features`."""
        return self.weight_of(self.features(states, log_probs, last))

    @torch.no_grad()
    def weight_of(self, features: torch.Tensor) -> torch.Tensor:
        """The same, of `features` ``[N]``."""
        found = self(features)[:, 1].exp().clamp(max=0.999)
        return torch.where(found < self.floor, torch.zeros_like(found), found)


def gate_bytes(gate: Gate, facts: Mapping[str, str]) -> bytes:
    """A gate as the content of a safetensors file.

    Args:
        gate: The gate.
        facts: What it was trained for: ``model``, ``tokenizer``, ``dtype`` and ``key`` of the memory.
    """
    from safetensors.torch import save

    metadata = {"format": FORMAT, "shape": json.dumps(gate.shape), **facts}
    return save({name: value.contiguous() for name, value in gate.state_dict().items()}, metadata)


def load_gate(path: Path) -> tuple[Gate, dict[str, str]]:
    """Read a gate, and the facts that it was saved with.

    Raises:
        InputError: The file is missing, damaged or no gate.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            if metadata.pop("format", None) != FORMAT:
                raise InputError(f"{path} is no gate of kNN-LM", hint="write one with 'ragdecode memory tune'")
            gate = Gate(**json.loads(metadata.pop("shape")))
            gate.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the gate {path} cannot be read: {error}", hint="write it again with 'ragdecode memory tune'"
        ) from error
    return gate.eval(), metadata
