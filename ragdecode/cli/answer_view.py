"""Shows an answer to people: as it is written on a terminal, whole elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING
from unicodedata import category

import click

if TYPE_CHECKING:
    from ragdecode.pipeline.answer import Answer
    from ragdecode.pipeline.events import Event
    from ragdecode.pipeline.passage import Passage

#: Characters of a source that are shown.
_EXCERPT = 160


class AnswerView:
    """Prints events to stdout: text as it comes on a terminal, the finished answer elsewhere.

    Args:
        by_sentence: Whether sentences carry citations: then they are printed whole, with the numbers behind them.
    """

    def __init__(self, *, by_sentence: bool = False) -> None:
        self._by_sentence = by_sentence
        self._live = sys.stdout.isatty()
        self._shown = ""
        self._cited: list[tuple[int, str]] = []  # pieces of a cited answer, each with its end in the answer

    def show(self, events: Iterable[Event]) -> Answer:
        """Print the answer of a stream and return its record."""
        from ragdecode.pipeline.events import DoneEvent, RetractEvent, SentenceEvent, TokenEvent

        answer: Answer | None = None
        for event in events:
            if isinstance(event, TokenEvent) and self._live and not self._by_sentence:
                self._write(event.text)
            elif isinstance(event, SentenceEvent) and self._live and event.cited is not None:
                self._cited.append((event.sentence.end, event.cited))
                self._write(event.cited)
            elif isinstance(event, RetractEvent) and self._live:
                self._retract(event.characters)
            elif isinstance(event, DoneEvent):
                answer = event.answer
        assert answer is not None, "a stream ends with its record"
        if self._live and self._by_sentence and self._shown.rstrip() != answer.shown.rstrip():
            # evidence that was found in the middle of the answer changes the numbers
            click.secho("\n(the numbers of the passages have changed)", fg="yellow")
            self._write(answer.shown)
        click.echo("" if self._live else printable(answer.shown))
        for note in answer.notes:
            click.secho(f"note: {printable(note)}", fg="yellow", err=True)
        return answer

    def _write(self, text: str) -> None:
        self._shown += text
        click.echo(printable(text), nl=False)
        sys.stdout.flush()

    def _retract(self, characters: int) -> None:
        """Withdraw text: what stays is printed again, since a terminal cannot take lines back."""
        click.echo("")
        click.secho("(withdrawn; the answer goes on from here)", fg="yellow")
        kept, self._shown = self._shown[:characters], ""
        if self._by_sentence:
            self._cited = [(end, text) for end, text in self._cited if end <= characters]
            kept = "".join(text for _, text in self._cited)
        self._write(kept)


def show_verdicts(answer: Answer) -> None:
    """Print how faithful each sentence is to the evidence, one a line, the unfaithful ones marked; nothing if unknown.

    ``0.31  no    -      Sentence``: the score, whether it reaches the threshold, the numbers of supporting passages.
    """
    if all(sentence.faithfulness is None for sentence in answer.sentences):
        return
    places = {passage.id: number for number, passage in enumerate(answer.passages, start=1)}
    click.echo("\nfaithful to the sources?")
    for sentence in answer.sentences:
        score = "   -" if sentence.faithfulness is None else f"{sentence.faithfulness:.2f}"
        word, colour = {True: ("yes", "green"), False: ("no", "red"), None: ("?", "yellow")}[sentence.faithful]
        numbers = "".join(f"[{places[name]}]" for name in sentence.supported_by if name in places) or "-"
        text = " ".join(printable(sentence.text).split())
        text = text if len(text) <= _EXCERPT else text[: _EXCERPT - 1] + "…"
        verdict = click.style(f"{score}  {word:<4}", fg=colour, bold=sentence.faithful is False)
        click.echo(f"{verdict}{numbers:<8} {text}")


def show_sources(passages: Iterable[Passage]) -> None:
    """Print where the evidence comes from, one passage a line."""
    for number, passage in enumerate(passages, start=1):  # as prompts and citations count them
        place = printable(place_of(passage)).replace("\n", " ")
        excerpt = " ".join(printable(passage.text).split())
        if len(excerpt) > _EXCERPT:
            excerpt = excerpt[: _EXCERPT - 1] + "…"
        click.echo(f"{click.style(f'[{number}]', fg='cyan')} {click.style(place, bold=True)}: {excerpt}")


def place_of(passage: Passage) -> str:
    """A passage's source with page and heading, for people."""
    parts = [passage.source or passage.id]
    if passage.metadata.get("page") is not None:
        parts.append(f"page {passage.metadata['page']}")
    if passage.metadata.get("heading"):
        parts.append(str(passage.metadata["heading"]))
    return ", ".join(parts)


def show_cost(answer: Answer) -> None:
    """Print what an answer cost, on stderr."""
    stats, seconds = answer.stats, answer.seconds
    whole = seconds.load + seconds.retrieve + seconds.prefill + seconds.decode
    click.secho(
        f"{stats.new_tokens} tokens in {stats.steps} steps, {whole:.1f} s (loading {seconds.load:.1f}, "
        f"retrieval {seconds.retrieve:.1f}, prompt {seconds.prefill:.1f}, decoding {seconds.decode:.1f})",
        dim=True,
        err=True,
    )


def printable(text: str) -> str:
    """Text without control characters, so that no document can steer a terminal."""
    return "".join(char for char in text if char in "\n\t" or category(char) != "Cc")
