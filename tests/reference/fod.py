"""FOD from its description: greedy sentences, backtracking, then a beam of sampled sentences by faithfulness.

Written from the sheet of arXiv 2406.13692 and the list of slips of the released code: S // beams draws a beam, the end
of the text is a finished candidate, never more than ``max_sentences``. Knows nothing of models: who calls it says what
the next sentence is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

#: (tokens so far, name of the draw or "greedy") -> (tokens of the next sentence, whether the text ends with it), or
#: None where no sentence came to its end.
Next = Callable[[list[int], str], tuple[list[int], bool] | None]
#: Tokens of a sentence, and which one of the answer it is -> score.
Score = Callable[[Sequence[int], int], float]


def fod(
    next_sentence: Next,
    score: Score,
    *,
    tau_start: float,
    tau_prune: float,
    beams: int,
    samples: int,
    max_sentences: int,
) -> tuple[list[int], list[float], list[int]]:
    """The answer's tokens, its sentences' scores, and the tokens that the greedy stage kept."""
    prefix: list[int] = []
    scores: list[float] = []
    while len(scores) < max_sentences:
        drawn = next_sentence(prefix, "greedy")
        assert drawn is not None
        sentence, ended = drawn
        if not sentence:
            return prefix, scores, prefix
        value = score(sentence, len(scores))
        if not value > tau_start:
            break
        prefix, scores = prefix + sentence, [*scores, value]
        if ended:
            return prefix, scores, prefix
    else:
        return prefix, scores, prefix
    kept = prefix
    best = [(prefix, scores, False)]
    rounds = 0
    while True:
        open_ones = [one for one in best if not one[2]]
        if not open_ones or len(open_ones[0][1]) >= max_sentences:
            return best[0][0], best[0][1], kept
        rounds += 1
        candidates = [one for one in best if one[2]]
        for number, (tokens, values, _) in enumerate(open_ones):
            names = [f"{rounds}.{number}.{draw}" for draw in range(samples // len(open_ones))]
            candidates += _grown(tokens, values, names, next_sentence, score, tau_prune)
        if not candidates:
            return best[0][0], best[0][1], kept
        means = [sum(values) / len(values) for _, values, _ in candidates]
        order = sorted(range(len(candidates)), key=lambda place: (-means[place], place))
        best = [candidates[place] for place in order[:beams]]


def _grown(
    tokens: list[int], values: list[float], names: list[str], next_sentence: Next, score: Score, tau_prune: float
) -> list[tuple[list[int], list[float], bool]]:
    """The candidates that the draws of one beam make."""
    candidates = []
    seen = []
    for name in names:
        drawn = next_sentence(tokens, name)
        if drawn is None or drawn in seen:
            continue
        seen.append(drawn)
        sentence, ended = drawn
        if not sentence:
            candidates += [(tokens, values, True)] if values else []
        elif (value := score(sentence, len(values))) >= tau_prune:
            candidates.append((tokens + sentence, [*values, value], ended))
    return candidates
