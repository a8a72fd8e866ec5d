"""A question as it is put to a pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ragdecode.errors import InputError
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.turn import Turn, turns

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from ragdecode.decoding.request import Request

    Evidence = str | Mapping[str, Any] | Document | Passage


@dataclass(frozen=True)
class AnswerSettings:
    """Settings of one answer, in the place of the pipeline's; None leaves the pipeline's.

    Attributes:
        max_new_tokens: Longest answer; the pipeline's is the most, for prompts are fitted to it.
        temperature: 0 takes the most probable token.
        top_p: The smallest set of tokens with this mass is kept.
        seed: Seed of the noise.
        stop: Texts that end the answer, beside the pipeline's.
    """

    max_new_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def applied(self, request: Request) -> Request:
        """A request with these settings.

        Raises:
            InputError: One of them is out of its range.
        """
        picking: dict[str, Any] = {"temperature": self.temperature, "top_p": self.top_p, "seed": self.seed}
        sampling = replace(request.sampling, **{name: value for name, value in picking.items() if value is not None})
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {self.max_new_tokens!r}", hint="1 or more")
        longest = min(self.max_new_tokens or request.max_new_tokens, request.max_new_tokens)
        stop = (*request.stop_strings, *self.stop)
        return replace(request, sampling=sampling, max_new_tokens=longest, stop_strings=stop)


@dataclass(frozen=True)
class Question:
    """What is asked, after what, and on which evidence.

    Attributes:
        text: The question.
        history: Earlier turns, oldest first.
        passages: Evidence, best first; None has the pipeline look for it.
        settings: Settings of this answer.
    """

    text: str
    history: tuple[Turn, ...] = ()
    passages: tuple[Passage, ...] | None = None
    settings: AnswerSettings = AnswerSettings()

    @staticmethod
    def of(
        text: str,
        history: Iterable[Turn | Mapping[str, Any]] = (),
        passages: Iterable[Evidence] | None = None,
        settings: AnswerSettings | None = None,
    ) -> Question:
        """A question from plain data.

        Raises:
            InputError: It is empty, or history or passages are not of a known form.
        """
        if not isinstance(text, str):
            raise InputError(f"expected the question as a string, found {type(text).__name__}")
        if not text.strip():
            raise InputError("the question is empty", hint="ask something")
        earlier = turns(history)
        evidence = None if passages is None else tuple(_passages(passages))
        _refuse_broken("the question", text)
        for turn in earlier:
            _refuse_broken("a message of the history", turn.content)
        for passage in evidence or ():
            _refuse_broken(f"passage {passage.rank}", passage.text)
        return Question(text, earlier, evidence, settings or AnswerSettings())


def _passages(values: Iterable[Evidence]) -> Iterable[Passage]:
    for rank, value in enumerate(values, start=1):
        try:
            yield Passage.of(value, rank)
        except (KeyError, AttributeError) as error:
            raise InputError(
                f"passage {rank}: expected a string, an object with text, or a document, found {value!r:.80}"
            ) from error


def _refuse_broken(what: str, text: str) -> None:
    """Refuse what is no Unicode text, such as the bytes of another encoding on a command line."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{what} is not valid text: half of a surrogate pair at character {error.start}") from error
