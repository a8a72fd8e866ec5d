"""An app on disk: a tiny random model, a few documents, pipelines over them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from tests.models import tiny

WINDOW = 1024
DOCUMENTS = {
    "bridge.md": "# Bridge\n\nThe bridge of Tollin has 12 arches. It was built in 1889 by Mr. Aven.\n",
    "tower.md": "# Tower\n\nThe tower of Tollin is 3.5 metres wide. Nobody lives there.\n",
    "cheese.md": "# Cheese\n\nThe cheese of Morvan is blue. It smells of hay and thunder.\n",
}
PROMPT = {
    "messages": [
        {"role": "system", "content": "Answer{% if passages %} from the passages{% endif %}."},
        {
            "role": "user",
            "content": "{% for p in passages %}[{{ p.rank }}] {{ p.text }}\n{% endfor %}Question: {{ question }}",
        },
    ]
}


def write_model(folder: Path, seed: int = 0) -> Path:
    """A Llama whose logits are spread over several units, so that every token of the prompt matters."""
    tiny.write_llama(folder, seed)
    config = json.loads((folder / "config.json").read_text())
    config["max_position_embeddings"] = WINDOW
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    scaled = {name: tensor * 8 if tensor.dim() == 2 else tensor for name, tensor in tensors.items()}
    save_file(scaled, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_app(root: Path, model: Path) -> Path:
    """Folders of an app; `write_pipeline` adds pipelines."""
    (root / "pipelines").mkdir(parents=True)
    (root / "docs").mkdir()
    for name, text in DOCUMENTS.items():
        (root / "docs" / name).write_text(text)
    (root / "model").symlink_to(model)
    return root


def write_pipeline(root: Path, name: str, *, search: bool = False, **settings: Any) -> Path:
    """A pipeline over the tiny model; JSON is YAML."""
    spec: dict[str, Any] = {
        "model": {"name": "tiny", "source": {"path": {"path": "../model"}}},
        "prompt": PROMPT,
        "engine": {"device": "cpu", "dtype": "float64", "linear": "plain"},
    }
    if search:
        spec["index"] = {"corpus": {"path": "../docs"}, "split": {"tokens": 64, "overlap": 0}, "stores": ["bm25"]}
        spec["retrieve"] = [{"bm25": {"top_k": 2}}]
    spec |= settings
    file = root / "pipelines" / f"{name}.yaml"
    file.write_text(json.dumps(spec))
    return file
