"""Which files of a model are data, and may be read."""

from __future__ import annotations

#: Kinds of file that are data: weights that cannot run code, configuration, vocabularies, chat templates.
DATA = (".safetensors", ".gguf", ".json", ".txt", ".model", ".jinja")

#: Kinds of file that run code when they are read.
CODE_OR_PICKLE = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".msgpack", ".h5", ".npy", ".npz", ".py")


def is_data_file(name: str) -> bool:
    """Whether ``name`` is of a kind that cannot run code."""
    return name.endswith(DATA)
