"""Labelled sentences as tables: features, states of middle layers, labels, and the source of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ragdecode.decoding.faithfulness.features import FEATURES, LID, SentenceFeatures, TokenSignals, sentence_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ragdecode.decoding.faithfulness.aligner import Aligner
    from ragdecode.evaluation.monitors.journal import Watched
    from ragdecode.evaluation.monitors.labelled import Labelled, Tally

#: Features by what they look at; the names are those of the report and of ``--without``.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "likelihood": ("min_prob", "mean_prob"),
    "entropy": ("max_entropy", "mean_entropy"),
    "lid": LID,
    "influence": ("mean_kl", "large_kl_count"),
    "alignment": ("alignment",),
    "length": ("n_tokens",),
}


@dataclass(frozen=True)
class Examples:
    """Sentences of labelled answers.

    Attributes:
        features: All of `FEATURES` but `LID`, which depends on anchors, NaN where one has no value ``[n, F]``.
        states: Of the sentences' last tokens ``[n, 3, H]``; None if the model does not tell them.
        similarity: Cosine of the sentence with the most similar one of the evidence, NaN without an encoder ``[n]``.
        faithful: Whether nothing in the sentence is marked ``[n]``; without meaning where ``placed`` is false.
        placed: Whether the marks of its answer are all known by place ``[n]``.
        groups: Which sentences share a source ``[n]``.
        answers: The answer that each is of, as a place in ``unfaithful`` ``[n]``.
        unfaithful: Whether anything in an answer is unsupported ``[A]``.
        answer_groups: The source of each answer ``[A]``.
    """

    features: NDArray[np.float64]
    states: NDArray[np.float16] | None
    similarity: NDArray[np.float64]
    faithful: NDArray[np.bool_]
    placed: NDArray[np.bool_]
    groups: NDArray[np.int64]
    answers: NDArray[np.int64]
    unfaithful: NDArray[np.bool_]
    answer_groups: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.faithful)

    def of(self, chosen: NDArray[np.bool_]) -> Examples:
        """The chosen sentences; the answers stay."""
        return replace(
            self,
            features=self.features[chosen],
            states=None if self.states is None else self.states[chosen],
            similarity=self.similarity[chosen],
            faithful=self.faithful[chosen],
            placed=self.placed[chosen],
            groups=self.groups[chosen],
            answers=self.answers[chosen],
        )


#: Names of the columns of `Examples.features`.
COLUMNS = tuple(name for name in FEATURES if name not in LID)


def collect(
    rows: Sequence[Labelled],
    watched: Sequence[Watched | None],
    aligner: Aligner,
    resources: Mapping[str, Any],
    tally: Tally,
    progress: Callable[[str, int, int], None],
) -> Examples:
    """Features and labels of every sentence.

    Sentences without a word (nothing can be compared) and answers that were not read are left out, and counted.

    Args:
        rows: The labelled answers.
        watched: What the model thinks of each.
        aligner: Compares sentences with the evidence that the prompt had room for.
        resources: What the aligner asks for.
        tally: Counts what is left out.
        progress: Told after every source.
    """
    found: list[tuple[list[float], float, bool, bool, int, int]] = []
    states: list[NDArray[np.float16]] = []
    unfaithful: list[bool] = []
    groups: list[int] = []
    sessions: dict[tuple[str, ...], Any] = {}
    for done, (row, item) in enumerate(zip(rows, watched, strict=True)):
        if item is None:
            continue
        progress("comparing with the evidence", done, len(rows))
        shown = row.passages[: item.shown]
        if shown not in sessions:
            sessions.clear()  # rows of a source stand together, mostly
            sessions[shown] = aligner.start(shown, resources)
        if item.shown < len(row.passages):
            tally.add("answers whose evidence was cut to the model's window", row.place)
        kept = 0
        for place, (start, end, first, last) in enumerate(item.sentences.tolist()):
            alignment = sessions[shown].align(row.response[start:end])
            if alignment.score is None:
                tally.add("sentences without a word", row.place)
                continue
            found.append(
                (
                    _columns(_features(item, first, last, alignment.score)),
                    alignment.parts.get("cosine", float("nan")),
                    not row.touches(start, end),
                    row.use == "sentences",
                    row.group,
                    len(unfaithful),
                )
            )
            if item.states is not None:
                states.append(item.states[place])
            kept += 1
        if kept:
            unfaithful.append(row.unfaithful)
            groups.append(row.group)
    table, similarity, faithful, placed, group, answer = zip(*found, strict=True) if found else [()] * 6
    return Examples(
        np.asarray(table, np.float64).reshape(-1, len(COLUMNS)),
        np.stack(states) if states and len(states) == len(found) else None,
        np.asarray(similarity, np.float64),
        np.asarray(faithful, bool),
        np.asarray(placed, bool),
        np.asarray(group, np.int64),
        np.asarray(answer, np.int64),
        np.asarray(unfaithful, bool),
        np.asarray(groups, np.int64),
    )


def _features(item: Watched, first: int, last: int, alignment: float) -> SentenceFeatures:
    tokens = zip(item.probability[first:last], item.entropy[first:last], item.kl[first:last], strict=True)
    return sentence_features((TokenSignals(float(p), float(h), float(kl)) for p, h, kl in tokens), alignment)


def _columns(features: SentenceFeatures) -> list[float]:
    return [float("nan") if value is None else value for value in features.vector(COLUMNS)]
