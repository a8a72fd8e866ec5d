"""Cuts evidence and history so that every view fits its model's window. The question is never cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ragdecode.decoding.request import TARGET
from ragdecode.errors import InputError
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.prompts import Prompt
from ragdecode.pipeline.turn import Turn

#: Share of the window that earlier turns and the question may take before evidence is cut.
HISTORY_SHARE = 0.5
#: A cut passage with fewer characters than this says nothing and is dropped.
MIN_CHARACTERS = 40
#: First guess at the characters of a token, when the end of a passage is looked for.
_CHARACTERS = 4

Render = Callable[[Sequence[Passage], Sequence[Turn]], Mapping[str, Prompt]]


@dataclass(frozen=True)
class Fitted:
    """Prompts that fit, made of the same text in all views.

    Attributes:
        prompts: The prompts by view.
        passages: The evidence that is left.
        history: The earlier turns that are left.
        notes: What was cut.
    """

    prompts: Mapping[str, Prompt]
    passages: tuple[Passage, ...]
    notes: tuple[str, ...] = ()
    history: Sequence[Turn] = ()


def fit(
    render: Render,
    passages: Sequence[Passage],
    history: Sequence[Turn],
    limits: Mapping[str, int],
    max_new_tokens: int,
) -> Fitted:
    """Render with as much evidence as fits.

    The oldest turns go first where history crowds the evidence out, then the lowest ranked passages; the first
    passage that does not fit whole is cut at a word.

    Args:
        render: Makes the prompts of all views from passages and history.
        passages: Best first.
        history: Oldest first.
        limits: Longest prompt of each view, in tokens.
        max_new_tokens: Tokens that are kept free for the answer, for the message.

    Raises:
        InputError: The question does not fit even alone.
    """
    prompts = render(passages, history)
    if _excess(prompts, limits) <= 0:
        return Fitted(prompts, tuple(passages), history=history)
    bare = render((), ())
    if _excess(bare, limits) > 0:
        raise _too_long(bare, limits, max_new_tokens)
    turns = _recent(render, history, {view: int(limit * HISTORY_SHARE) for view, limit in limits.items()})
    notes = []
    if len(turns) < len(history):
        notes.append(f"the oldest {len(history) - len(turns)} of {len(history)} earlier messages were left out")
    kept, cut_notes = _cut(lambda some: _excess(render(some, turns), limits) <= 0, passages, min(limits.values()))
    return Fitted(render(kept, turns), kept, (*notes, *cut_notes), turns)


def _recent(render: Render, history: Sequence[Turn], limits: Mapping[str, int]) -> Sequence[Turn]:
    """The latest turns that fit, beginning with the user's; pairs stay together."""
    starts = [place for place, turn in enumerate(history) if turn.role == "user"]
    for start in starts:
        if _excess(render((), history[start:]), limits) <= 0:
            return history[start:]
    return ()


def _cut(
    fits: Callable[[Sequence[Passage]], bool], passages: Sequence[Passage], limit: int
) -> tuple[tuple[Passage, ...], list[str]]:
    whole, above = 0, len(passages)  # the first `whole` fit, the first `above` may not
    while whole < above:
        middle = (whole + above + 1) // 2
        whole, above = (middle, above) if fits(passages[:middle]) else (whole, middle - 1)
    kept = list(passages[:whole])
    notes = []
    if whole < len(passages):
        passage = passages[whole]
        text = _beginning(passage.text, lambda part: fits([*kept, replace(passage, text=part)]), limit)
        if len(text) >= min(MIN_CHARACTERS, len(passage.text)):
            kept.append(replace(passage, text=text))
            notes.append(
                f"passage {passage.rank} was cut to its first {len(text)} of {len(passage.text)} characters to fit"
            )
        if dropped := len(passages) - len(kept):
            notes.append(f"the lowest ranked {dropped} of {len(passages)} passages were dropped to fit")
    return tuple(kept), notes


def _beginning(text: str, fits: Callable[[str], bool], limit: int) -> str:
    """The longest beginning that fits, up to the end of a word."""
    good, bad = 0, min(len(text), max(1, limit) * _CHARACTERS)
    while bad < len(text) and fits(text[:bad]):
        good, bad = bad, min(len(text), 2 * bad)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(text[:middle]) else (good, middle)
    part = text[:good]
    words = part.split()
    inside = good < len(text) and not (text[good].isspace() or part[-1:].isspace())
    at_word = part[: part.rfind(words[-1])] if inside and len(words) > 1 else part
    for choice in (at_word.rstrip(), part):
        if choice and fits(choice):
            return choice
    return ""


def _excess(prompts: Mapping[str, Prompt], limits: Mapping[str, int]) -> int:
    """By how many tokens the worst view is too long."""
    return max(len(prompt.ids) - limits[view] for view, prompt in prompts.items())


def _too_long(prompts: Mapping[str, Prompt], limits: Mapping[str, int], max_new_tokens: int) -> InputError:
    view = max(prompts, key=lambda name: len(prompts[name].ids) - limits[name])
    tokens, limit = len(prompts[view].ids), limits[view]
    return InputError(
        f"the question is too long: with its prompt{'' if view == TARGET else f' in the view {view}'} it takes "
        f"{tokens} tokens; the model's window of {limit + max_new_tokens} less max_new_tokens {max_new_tokens} "
        f"leaves {max(0, limit)}",
        hint="shorten the question or lower decode.max_new_tokens",
    )
