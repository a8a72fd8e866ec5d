"""Save a copy of a model with fewer layers, or with a smaller vocabulary, for figures of draft models.

A stand-in for a trained draft model where only one causal model is at hand: the copy has the first K layers, the
embeddings, the last norm and the head of the model, untrained as such. With ``--tokens N`` it also forgets the tokens
from id N on and the merges that make them, which gives a second vocabulary. Figures that rest on such a copy say so.

    python benchmarks/layer_cut.py OUT --layers 20 [--tokens 32768] [--model smollm2-135m]

writes the folder OUT and prints the model file that names it.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

from ragdecode.errors import InputError, RagDecodeError
from ragdecode.models.causal import load_causal
from ragdecode.spec.load import load_document

_LAYER = re.compile(r"\.layers\.(\d+)\.")
_COPIED = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "generation_config.json")


def cut(source: Path, out: Path, layers: int | None, tokens: int | None) -> dict[str, Any]:
    """Write the copy; returns its configuration.

    Raises:
        InputError: There are not so many layers or tokens, or the vocabulary cannot be cut there.
    """
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    whole, known = config["num_hidden_layers"], config["vocab_size"]
    layers, tokens = layers or whole, tokens or known
    if not 1 <= layers <= whole or not 1 <= tokens <= known:
        raise InputError(f"the model has {whole} layers and {known} tokens, not {layers} and {tokens}")
    out.mkdir(parents=True)
    tokenizer = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    if tokens < known:
        tokenizer = _fewer_tokens(tokenizer, tokens)
    (out / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    for name in _COPIED:
        if (source / name).is_file():
            shutil.copy(source / name, out / name)
    config |= {"num_hidden_layers": layers, "vocab_size": tokens}
    if isinstance(config.get("layer_types"), list):
        config["layer_types"] = config["layer_types"][:layers]
    config["cut_from"] = {"layers": whole, "tokens": known, "note": "an untrained cut, for measurements"}
    (out / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    kept = {}
    for file in sorted(source.glob("*.safetensors")):
        with safe_open(str(file), framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - no mapping
                layer = _LAYER.search(name)
                if layer is None or int(layer[1]) < layers:
                    tensor = tensors.get_tensor(name)
                    narrow = "embed_tokens" in name or "lm_head" in name
                    kept[name] = tensor[:tokens].contiguous() if narrow else tensor
    save_file(kept, out / "model.safetensors", metadata={"format": "pt"})
    return dict(config)


def _fewer_tokens(tokenizer: dict[str, Any], tokens: int) -> dict[str, Any]:
    """A BPE tokenizer whose pieces from an id on, and the merges that need them, are gone."""
    model = tokenizer["model"]
    if model["type"] != "BPE" or any(token["id"] >= tokens for token in tokenizer["added_tokens"]):
        raise InputError(
            f"this vocabulary cannot be cut at {tokens}", hint="a BPE vocabulary, above its control tokens"
        )
    pieces = {piece: id_ for piece, id_ in model["vocab"].items() if id_ < tokens}
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    kept = [pair for pair in pairs if "".join(pair) in pieces and pair[0] in pieces and pair[1] in pieces]
    return {**tokenizer, "model": {**model, "vocab": pieces, "merges": kept}}


def main() -> None:
    """Read the command line, write the copy, print its model file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("out", type=Path, help="folder to write; must not exist")
    parser.add_argument("--layers", type=int, help="layers to keep, from the first; all if left out")
    parser.add_argument("--tokens", type=int, help="ids to keep, from 0; all if left out")
    parser.add_argument("--model", default="smollm2-135m", help="name or file of the model that is cut")
    arguments = parser.parse_args()
    if arguments.out.exists():
        parser.error(f"{arguments.out} is there already")
    try:
        model = load_causal(load_document("models", arguments.model).spec)
        config = cut(model.path, arguments.out, arguments.layers, arguments.tokens)
    except RagDecodeError as error:
        parser.error(error.message)
    print(
        f"# {config['num_hidden_layers']} layers, {config['vocab_size']} tokens; an untrained cut of {arguments.model}"
    )
    print(f"kind: causal\nsource:\n  path: {{path: {arguments.out.resolve()}}}")


if __name__ == "__main__":
    main()
