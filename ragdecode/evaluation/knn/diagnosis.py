"""The whole diagnosis of kNN-LM over a memory on held-out text, as plain data for JSON and the report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ragdecode.evaluation.knn import mauve
from ragdecode.evaluation.knn.findings import findings
from ragdecode.evaluation.knn.generation import Prompt, Writer, prompts
from ragdecode.evaluation.knn.growth import growth
from ragdecode.evaluation.knn.ledger import examples, ledger, token_class
from ragdecode.evaluation.knn.portions import portions
from ragdecode.evaluation.knn.reading import Reader
from ragdecode.evaluation.knn.repetition import diversity, summary
from ragdecode.evaluation.knn.resampling import drawn, mean, stretches
from ragdecode.evaluation.knn.votes import TokenVotes
from ragdecode.indexing.memory.windows import Window
from ragdecode.models.progress import Progress, silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.rules.knn_lm import KnnLm
    from ragdecode.indexing.memory.datastore import MemoryDatastore
    from ragdecode.models.causal import CausalModel
    from ragdecode.models.encoder import Encoder
    from ragdecode.spec.diagnosis import DiagnosisSpec

#: resamples of MAUVE, each with clusters of its own
_MAUVE_RESAMPLES = 100
#: examples of each kind, and tokens before them that are told
_EXAMPLES, _BEFORE = 8, 24
#: a nearest neighbour at so small a part of the median distance is the place itself; more of them than this share is
#: worth a remark
_SAME, _MANY = 1e-3, 0.02


@dataclass
class Case:
    """What is diagnosed.

    Attributes:
        spec: The diagnosis.
        model: The language model.
        backend: The same, ready to run.
        memory: The memory.
        content: Identity of the index's content.
        rule: The rule, equipped with the memory.
        texts: Name and tokens of each held-out text.
        encoder: Opens the encoder; None where no texts are written.
        folder: Where intermediate results are kept; nowhere if None.
        progress: Told what is done.
        notes: What a reader should know.
    """

    spec: DiagnosisSpec
    model: CausalModel
    backend: Backend
    memory: MemoryDatastore
    content: str
    rule: KnnLm
    texts: Sequence[tuple[str, Sequence[int]]]
    encoder: Encoder | None = None
    folder: Path | None = None
    progress: Progress = silent
    notes: list[str] = field(default_factory=list)

    @property
    def identity(self) -> str:
        """All that figures depend on besides the tokens that are read."""
        told = {
            "content": self.content,
            "facts": self.memory.facts,
            "rule": self.spec.rule.settings.model_dump(mode="json"),
            "left_out": self.spec.leave_out,
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def diagnose(case: Case) -> dict[str, Any]:
    """Read held-out text, write continuations, and tell what the votes do; see ``docs/cli.md``.

    Raises:
        InputError: The memory does not fit the rule's settings.
        RunError: A model failed.
    """
    from ragdecode.decoding.request import TARGET, Request, View

    resources = {"memory": case.memory, "leave_out": case.spec.leave_out}
    started: Any = case.rule.start(Request("diagnosis", {TARGET: View([0])}, resources=resources))
    asking, key = started._asking, started.taps[0]
    reader = Reader(
        case.backend, asking, case.memory.corpus.starts, key, case.model.vocab_size, case.identity,
        case.folder / "read" if case.folder else None,
    )  # fmt: skip
    votes, read = _read(case, reader)
    groups = stretches(votes.text, votes.place)
    counts = np.bincount(case.memory.corpus.values, minlength=case.model.vocab_size)[votes.gold]
    result = _figures(case, votes, groups, counts, asking.temperature)
    written = _written(case, reader, resources) if case.spec.generate is not None else None
    result["growth"] = written["growth"] if written else None
    result["quality"] = written["quality"] if written else None
    result["text"] = {"documents": len(read), "tokens": len(votes), "left_out": list(case.spec.leave_out)}
    result["findings"] = findings(result, _frequent(votes, groups, counts))
    result["examples"] = _told(case, votes, read)
    result["notes"] = case.notes
    return result


def _read(case: Case, reader: Reader) -> tuple[TokenVotes, list[Sequence[int]]]:
    """The held-out text, as much of each as was asked for."""
    read = portions([ids for _, ids in case.texts], case.memory.facts, case.spec.tokens)
    done = 0
    parts = []
    for window in read.windows:
        case.progress("reading held-out text", done, read.tokens)
        parts.append(reader.read(read.texts[window.document], [window], window.document))
        done += len(parts[-1])
    case.progress("reading held-out text", done, read.tokens)
    return TokenVotes.joined(parts), list(read.texts)


def _figures(
    case: Case, votes: TokenVotes, groups: NDArray[np.int64], counts: NDArray[np.int64], temperature: float
) -> dict[str, Any]:
    settings: Any = case.spec.rule.settings
    decoded = {int(one): case.model.tokenizer.decode([int(one)]) for one in np.unique(votes.gold)}
    classes = [token_class(decoded[int(one)]) for one in votes.gold]
    losses = {name: -float(getattr(votes, name).mean()) for name in ("lm", "mixed", "best")}
    near = votes.nearest[np.isfinite(votes.nearest)]
    share = float((near < _SAME * np.median(near)).mean()) if len(near) else 0.0
    if share > _MANY:
        case.notes.append(
            f"{share:.0%} of the tokens find their own state in the memory: does the corpus hold this text? Name its "
            "files under leave_out"
        )
    return {
        "description": case.spec.description,
        "model": case.model.spec.name or case.model.path.name,
        "index": {
            "path": case.spec.index,
            "entries": len(case.memory),
            "documents": int(case.memory.facts["documents"]),
            "key": case.memory.facts["key"],
            "kind": case.memory.facts["kind"],
        },
        "settings": {
            "k": min(settings.count, len(case.memory)),
            "temperature": temperature,
            "by": settings.by,
            "weight": settings.most if settings.by in ("fixed", "entropy") else None,
            "mean_weight": float(votes.weight.mean()),
        },
        "perplexity": {
            "lm": float(np.exp(losses["lm"])), "knn_lm": float(np.exp(losses["mixed"])),
            "oracle": float(np.exp(losses["best"])),
        },
        "loss": {
            "lm": losses["lm"], "knn_lm": losses["mixed"], "oracle": losses["best"],
            "gain": mean(votes.gain, groups), "oracle_gain": mean(votes.best - votes.lm, groups),
        },
        "ledger": ledger(votes, classes, counts),
    }  # fmt: skip


def _frequent(
    votes: TokenVotes, numbers: NDArray[np.int64], counts: NDArray[np.int64]
) -> dict[str, float | None] | None:
    """Gain of tokens above the median frequency less that of the others, with its interval; None if all are alike."""
    often = counts > np.median(counts)
    if not often.any() or often.all():
        return None
    size = int(numbers.max()) + 1

    def sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(numbers, weights=values, minlength=size).astype(np.float64)

    high, low = sums(np.where(often, votes.gain, 0.0)), sums(np.where(often, 0.0, votes.gain))
    many, few = sums(often.astype(np.float64)), sums((~often).astype(np.float64))

    def apart(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        above, below = (np.maximum(one[rows].sum(axis=-1), 1.0) for one in (many, few))
        found: NDArray[np.float64] = high[rows].sum(axis=-1) / above - low[rows].sum(axis=-1) / below
        return found

    return dict(drawn(apart, size))


def _written(case: Case, reader: Reader, resources: Mapping[str, Any]) -> dict[str, Any] | None:
    """Continuations by both, and what is to be told of them; None if the text is too short for two prompts."""
    spec = case.spec.generate
    assert spec is not None
    chosen = prompts([ids for _, ids in case.texts], spec)
    if len(chosen) < 2:
        case.notes.append(
            "no texts were written: the held-out text has fewer than two stretches of "
            f"{spec.prompt + spec.tokens} tokens"
        )
        return None
    if len(chosen) < spec.texts:
        case.notes.append(f"{len(chosen)} texts were written each way: the held-out text has no more stretches")
    file = case.folder / "written.jsonl" if case.folder else None
    writer = Writer(case.backend, case.model.vocab_size, spec, case.identity, file, resources)
    texts = {
        "lm": writer.write("lm", chosen, (), case.progress),
        "knn_lm": writer.write("knn_lm", chosen, (case.rule,), case.progress),
    }
    told = {"gold": [list(one.gold) for one in chosen], **texts}
    runs = {name: _reread(case, reader, chosen, own, name) for name, own in told.items()}
    return {"growth": growth(runs, len(chosen)), "quality": _quality(case, told)}


def _reread(
    case: Case, reader: Reader, chosen: Sequence[Prompt], texts: Sequence[Sequence[int]], name: str
) -> TokenVotes:
    """What model and memory make of continuations."""
    parts = []
    for number, (prompt, own) in enumerate(zip(chosen, texts, strict=True)):
        case.progress(f"reading what was written, {name}", number, len(texts))
        ids = [*prompt.ids, *own]
        parts.append(reader.read(ids, [Window(0, 0, len(prompt.ids) - 1, len(ids) - 1, 0)], number))
    return TokenVotes.joined(parts)


def _quality(case: Case, texts: Mapping[str, Sequence[Sequence[int]]]) -> dict[str, Any]:
    found: dict[str, Any] = {name: summary(own) for name, own in texts.items()}
    diverse = np.asarray([[diversity(one) or 0.0 for one in texts[name]] for name in ("knn_lm", "lm")])
    found["apart"] = dict(drawn(lambda rows: (diverse[0] - diverse[1])[rows].mean(axis=-1), diverse.shape[1]))
    found["mauve"], found["mauve_apart"] = None, None
    if case.encoder is None:
        return found
    decode = case.model.tokenizer.decode
    vectors = {
        name: case.encoder.encode([decode(list(one)) for one in own], progress=case.progress)
        for name, own in texts.items()
    }
    count = len(texts["gold"])

    def scores(rows: NDArray[np.int64]) -> dict[str, float]:
        return {name: mauve.mauve(vectors["gold"][rows], vectors[name][rows]) for name in ("lm", "knn_lm")}

    whole = scores(np.arange(count))
    for name, score in whole.items():
        found[name]["mauve"] = score
    chance = np.random.default_rng(0)
    apart = []
    for at in range(_MAUVE_RESAMPLES):
        case.progress("comparing texts", at, _MAUVE_RESAMPLES)
        own = scores(chance.integers(count, size=count))
        apart.append(own["knn_lm"] - own["lm"])
    low, high = np.quantile(apart, [0.025, 0.975])
    found["mauve"] = {
        "encoder": case.encoder.spec.name or case.encoder.path.name,
        "texts": count,
        "clusters": mauve.clusters(count),
    }
    found["mauve_apart"] = {"estimate": whole["knn_lm"] - whole["lm"], "low": float(low), "high": float(high)}
    return found


def _told(case: Case, votes: TokenVotes, texts: Sequence[Sequence[int]]) -> dict[str, list[dict[str, Any]]]:
    decode = case.model.tokenizer.decode
    found: dict[str, list[dict[str, Any]]] = {}
    for name, rows in examples(votes, _EXAMPLES).items():
        found[name] = []
        for row in rows:
            ids, place = texts[int(votes.text[row])], int(votes.place[row])
            found[name].append({
                "before": decode(list(ids[max(0, place - _BEFORE) : place])),
                "token": decode([int(votes.gold[row])]),
                "lm": float(np.exp(votes.lm[row])),
                "knn_lm": float(np.exp(votes.mixed[row])),
                "votes": float(votes.votes[row]),
                "distance": float(votes.nearest[row]),
            })  # fmt: skip
    return found
