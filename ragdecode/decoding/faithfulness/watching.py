"""The monitor at work: sentences of an answer as they are finished, each with its features and its verdict."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ragdecode.decoding.faithfulness.aggregator import Aggregator
from ragdecode.decoding.faithfulness.aligner import Aligner, AlignerSession
from ragdecode.decoding.faithfulness.features import LID, TokenSignals, sentence_features
from ragdecode.decoding.faithfulness.reaction import ReactionSession
from ragdecode.decoding.faithfulness.verdict import Verdict
from ragdecode.decoding.monitor import Accepted, Action, Adjust, Flag, MonitorSession, Retrieve, Rewind
from ragdecode.text.sentence_stream import SentenceStream

if TYPE_CHECKING:
    from ragdecode.decoding.request import View

#: The view whose prompt shows the evidence.
_TARGET = "with_context"
#: Names of what `SynCheck.measure` tells of a node.
ENTROPY, KL = "entropy", "kl"


@dataclass(frozen=True)
class Judging:
    """What verdicts are made with.

    Attributes:
        aligner: Compares sentences with the evidence.
        aggregator: Makes a score of features.
        threshold: Below this a sentence is unfaithful.
        hold: Whether a sentence is shown only when its verdict is in.
        states: Whether the local intrinsic dimension is measured: it comes with the token behind a sentence's last.
        resources: What the aligner asks for, by name.
    """

    aligner: Aligner
    aggregator: Aggregator
    threshold: float
    hold: bool
    states: bool
    resources: Mapping[str, Any]


class Watch(MonitorSession):
    """Watches one answer.

    Args:
        judging: What verdicts are made with.
        passages: The evidence, as pairs of id and text.
        reaction: What is done about unfaithful sentences.

    Attributes:
        verdicts: Of the sentences so far, in order.
    """

    def __init__(self, judging: Judging, passages: Sequence[tuple[str, str]], reaction: ReactionSession) -> None:
        self.verdicts: list[Verdict] = []
        self._judging = judging
        self._reaction = reaction
        self._stream = SentenceStream()
        self._signals: list[TokenSignals] = []
        self._begins: list[int] = []  # of each token, the offset of its first character that is no blank
        self._ends: list[int] = []  # length of the text up to and including each token
        self._untold = 0
        self._before_end: int | None = None  # characters that were there before the last words of `finish`
        self._waiting: list[tuple[int, int]] = []  # sentences that are still to be judged
        self._asked: list[Mapping[str, Any]] = []  # what was to be done about sentences, but for flags
        self._read(passages)

    def observe(self, token: Accepted) -> Action | None:
        """Take a token in, and judge the sentences that became certain with it."""
        if self._signals and (lid := _lid(token.measured)):
            self._signals[-1] = replace(self._signals[-1], lid=lid)
        chance = math.exp(min(0.0, token.views[_TARGET]))
        measured = token.measured
        self._signals.append(TokenSignals(chance, measured[ENTROPY], measured.get(KL)))
        piece = token.text[len(self._stream.text) :]
        self._place(len(self._stream.text), piece)
        return self._judge([*self._waiting, *self._stream.add(piece)], states=self._judging.states)

    def ending(self, measured: Mapping[str, float]) -> None:
        """The answer's last token has a state too."""
        if self._signals and (lid := _lid(measured)):
            self._signals[-1] = replace(self._signals[-1], lid=lid)

    def finish(self, text: str) -> Action | None:
        """Judge the rest."""
        known = self._stream.text
        if not text.startswith(known):
            self._retract(len(text))
            known = self._stream.text
        piece = text[len(known) :]
        if self._before_end is None:
            self._before_end = len(known)
        return self._judge([*self._waiting, *self._stream.add(piece), *self._stream.finish()], last=True)

    @property
    def unfinished(self) -> bool:
        """Whether sentences behind one that was acted on are still to be judged."""
        return bool(self._waiting)

    def released(self) -> int | None:
        """With ``hold``, the tokens up to the last verdict; one that goes on into the next sentence waits for that."""
        if not self._judging.hold:
            return None
        return bisect_right(self._ends, self.verdicts[-1].stop) if self.verdicts else 0

    def retrieved(self, views: Mapping[str, View]) -> None:
        """Sentences from here on are held against the new evidence."""
        if _TARGET in views:
            self._read(views[_TARGET].passages)

    def rewind(self, length: int) -> None:
        """Forget what comes after the first tokens; sentences whose last token stays are judged for good.

        With all tokens, an answer that was about to end goes on: its last sentence may not have been whole.
        """
        if length >= len(self._signals):
            if self._before_end is not None:
                self._stream.reopen()
                self._retract(self._before_end)
            return
        del self._signals[length:], self._begins[length:], self._ends[length:]
        self._retract(self._ends[-1] if length else 0)
        self._reaction.rewind(length)

    def fork(self) -> Watch:
        """One that has seen the same; what was read of the passages is shared."""
        made = copy(self)
        made.verdicts = list(self.verdicts)
        made._stream = self._stream.copy()
        made._signals, made._begins, made._ends = list(self._signals), list(self._begins), list(self._ends)
        made._waiting, made._asked = list(self._waiting), list(self._asked)
        made._reaction = self._reaction.fork()
        made._untold = len(made.verdicts)  # the trunk tells what it has seen
        return made

    def told(self) -> list[Mapping[str, Any]]:
        """The verdicts since the last call."""
        new: list[Mapping[str, Any]] = [verdict.to_json() for verdict in self.verdicts[self._untold :]]
        self._untold = len(self.verdicts)
        return new

    def record(self) -> dict[str, Any]:
        """All verdicts, and what could not be scored, counted by its reason."""
        scores = [one.score for one in self.verdicts if one.score is not None]
        judging = self._judging
        return {
            "sentences": [verdict.to_json() for verdict in self.verdicts],
            "mean": math.fsum(scores) / len(scores) if scores else None,
            "lowest": min(scores, default=None),
            "unfaithful": sum(one.faithful is False for one in self.verdicts),
            "asked": list(self._asked),
            "abstained": any(one["action"] == "abstain" for one in self._asked),
            "unscored": dict(Counter(one.unscored for one in self.verdicts if one.unscored)),
            "missing": dict(Counter(name for one in self.verdicts for name in one.features.missing)),
            "threshold": judging.threshold,
            "aggregator": judging.aggregator.part_name,
            "alignment": judging.aligner.label,
        }

    def _place(self, before: int, piece: str) -> None:
        """Note where the newest token stands, and those before it that waited for the rest of their character."""
        begin = before + (len(piece) - len(piece.lstrip()) if piece.strip() else 0)
        self._begins.append(begin)
        self._ends.append(before + len(piece))
        if piece:
            for index in range(len(self._begins) - 2, -1, -1):
                if self._ends[index] != (self._ends[index - 1] if index else 0):
                    break  # it has text of its own
                self._begins[index] = begin

    def _retract(self, characters: int) -> None:
        self._before_end = None
        self._stream.retract(characters)
        told = self._stream.told
        self._waiting = [span for span in self._waiting if span in told]
        del self.verdicts[len(told) :]
        self._untold = min(self._untold, len(self.verdicts))

    def _read(self, passages: Sequence[tuple[str, str]]) -> None:
        self._ids = [name for name, _ in passages]
        texts = [text for _, text in passages]
        self._grounds: AlignerSession | None = (
            self._judging.aligner.start(texts, self._judging.resources) if any(map(str.strip, texts)) else None
        )

    def _judge(self, spans: Sequence[tuple[int, int]], *, states: bool = False, last: bool = False) -> Action | None:
        """Verdicts of sentences, and the first action that one of them calls for; those behind it wait.

        With ``states``, one that ends with the newest token waits for the next, which brings the token's state. With
        ``last`` the answer is about to end: nothing needs to be adjusted for what comes next.
        """
        flags: list[Mapping[str, Any]] = []
        self._waiting = []
        for place, (start, stop) in enumerate(spans):
            if states and self._tokens(start, stop).stop == len(self._signals):
                self._waiting = list(spans[place:])
                break
            verdict = self._verdict(start, stop)
            self.verdicts.append(verdict)
            action = self._react(verdict)
            if isinstance(action, Adjust) and last:
                action = action.flag
            if isinstance(action, Flag):
                flags += [action.detail, *action.more]
            elif action is None:
                continue
            if not (flags and self._reaction.only_flags):
                self._waiting = list(spans[place + 1 :])
                return action
        return Flag(flags[0], flags[1:]) if flags else None

    def _react(self, verdict: Verdict) -> Action | None:
        """What is to be done about a sentence, or after it."""
        if verdict.faithful is False:
            return self._note(self._reaction.react(verdict))
        if self._grounds is None:
            action = self._reaction.without_evidence(verdict)
            return None if action is None else self._note(action)
        return self._reaction.passed(verdict)

    def _note(self, action: Action) -> Action:
        """Put down what is asked for, and what is asked for instead where that cannot be."""
        if isinstance(action, Flag | Adjust):
            return action
        self._asked.append({"action": action.kind, **action.detail})
        if isinstance(action, Rewind | Retrieve) and (other := action.otherwise) is not None:
            return replace(action, otherwise=lambda: self._note(other()))
        return action

    def _verdict(self, start: int, stop: int) -> Verdict:
        text, tokens = self._stream.text[start:stop], self._tokens(start, stop)
        alignment = None if self._grounds is None else self._grounds.align(text)
        support = None if alignment is None else alignment.score
        features = sentence_features(self._signals[tokens.start : tokens.stop], support)
        score, unscored = None, ""
        if alignment is None:
            unscored = "no evidence"
        elif support is None:
            unscored = "no words"
        else:
            score = _probability(self._judging.aggregator.score(features))
            unscored = "" if score is not None else "features are missing"
        faithful = None if score is None else score >= self._judging.threshold
        return Verdict(
            len(self.verdicts), text, start, stop, tokens, score, faithful, features, alignment, unscored, self._ids
        )

    def _tokens(self, start: int, stop: int) -> range:
        """The tokens whose first character that is no blank lies in a span; at least one, where there is any."""
        first, last = bisect_left(self._begins, start), bisect_left(self._begins, stop)
        if first == last and last:
            first -= 1  # the sentence lies inside of a token
        return range(first, last)


def _lid(measured: Mapping[str, float]) -> dict[str, float]:
    return {name: measured[name] for name in LID if name in measured}


def _probability(score: float | None) -> float | None:
    """A score from 0 to 1, whatever an aggregator says; None for a number that is none."""
    return None if score is None or not math.isfinite(score) else min(1.0, max(0.0, score))
