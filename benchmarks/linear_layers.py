"""Time of all linear layers of the default model's shape, by kernel and number of new tokens: one matrix after another.

Usage: linear_layers.py [--tokens 1,2,4,8,16,32] [--repeats 7] [--compile]

Weights are random. Kernels: plain `F.linear`; the packed product that `engine.linear: packed` uses (private operators
of torch); `torch.utils.mkldnn.to_mkldnn`, the public way to the same library; and with --compile the public
`torch.compile` with freezing, which needs a C++ compiler and compiles once a number of tokens. Medians in milliseconds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from ragdecode.decoding.backends.linear import PackedLinear

#: (inputs, outputs) of a block of SmolLM2-135M with query, key and value and gate and up projections fused.
BLOCK = [(576, 960), (576, 576), (576, 3072), (1536, 576)]
LAYERS, HIDDEN, VOCAB = 30, 576, 49152

Kernel = Callable[[torch.Tensor], torch.Tensor]


def plain(weights: Sequence[torch.Tensor]) -> list[Kernel]:
    """The ordinary product."""
    return [lambda x, weight=weight: functional.linear(x, weight) for weight in weights]  # type: ignore[misc]


def packed(weights: Sequence[torch.Tensor]) -> list[Kernel]:
    """Packed once, with torch's private operators."""
    return [PackedLinear(weight, None) for weight in weights]


def mkldnn(weights: Sequence[torch.Tensor]) -> list[Kernel]:
    """The public conversion of modules; dense tensors go in and come out."""
    import torch.utils.mkldnn

    modules = []
    for weight in weights:
        module = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        module.weight.data = weight
        modules.append(torch.utils.mkldnn.to_mkldnn(module))
    return modules


def compiled(weights: Sequence[torch.Tensor]) -> list[Kernel]:
    """One compiled function over all layers, weights frozen into it."""
    from torch._inductor import config

    config.freezing = True
    modules = torch.nn.ModuleList()
    for weight in weights:
        module = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        module.weight.data = weight
        modules.append(module)
    modules.requires_grad_(False).train(False)

    def run(*inputs: torch.Tensor) -> list[torch.Tensor]:
        return [module(x) for module, x in zip(modules, inputs, strict=True)]

    function = torch.compile(run)
    return [function]


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    """Median time of a call, two warm-up calls left out."""
    times = []
    for turn in range(repeats + 2):
        started = time.perf_counter()
        call()
        if turn >= 2:
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e3


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", default="1,2,4,8,16,32")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="torch.compile with freezing too")
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    shapes = [*BLOCK * LAYERS, (HIDDEN, VOCAB)]
    weights = [torch.randn(outputs, inputs, generator=generator) for inputs, outputs in shapes]
    kernels = {"plain": plain(weights), "packed": packed(weights), "to_mkldnn": mkldnn(weights)}
    print(
        f"{sum(weight.nbytes for weight in weights) / 1e6:.0f} MB of float32 weights, {torch.get_num_threads()} threads"
    )
    print("kernel      " + "".join(f"{int(count):>8}" for count in options.tokens.split(",")))
    with torch.no_grad():
        for name, run in kernels.items():
            row = []
            for count in map(int, options.tokens.split(",")):
                inputs = [torch.randn(count, shape[0], generator=generator) for shape in shapes]
                row.append(
                    milliseconds(lambda: [f(x) for f, x in zip(run, inputs, strict=True)], options.repeats)  # noqa: B023
                )
            print(f"{name:12}" + "".join(f"{value:8.1f}" for value in row), flush=True)
        if options.compile:
            row = []
            for count in map(int, options.tokens.split(",")):
                torch._dynamo.reset()
                inputs = [torch.randn(count, shape[0], generator=generator) for shape in shapes]
                (function,) = compiled(weights)
                row.append(milliseconds(lambda: function(*inputs), options.repeats))  # noqa: B023
            print(f"{'compiled':12}" + "".join(f"{value:8.1f}" for value in row))


if __name__ == "__main__":
    main()
