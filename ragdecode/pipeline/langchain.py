"""A pipeline as a LangChain runnable."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.utils import AddableDict

from ragdecode.errors import InputError
from ragdecode.pipeline.events import DoneEvent, Event, PassagesEvent, RetractEvent, TokenEvent
from ragdecode.pipeline.question import Question
from ragdecode.pipeline.threads import exhaust, exhaust_in_thread, iterate_in_thread

if TYPE_CHECKING:
    from ragdecode.pipeline.pipeline import Pipeline

Input = str | dict[str, Any]
_KEYS = ("question", "history", "passages")


class PipelineRunnable(Runnable[Input, dict[str, Any]]):
    """Questions in, answers out, as the objects of ``ask --json``.

    The input is a question, or a mapping with ``question`` and perhaps ``history`` (messages, oldest first) and
    ``passages`` (strings, mappings with ``text``, or documents; they take the place of retrieval). ``batch`` decodes
    its inputs together. ``stream`` yields mappings whose sum is the answer: passages, pieces of ``answer``, then the
    rest; withdrawn text is told as ``retract``. The asynchronous forms work in a thread and free the slots at the
    next step when they are cancelled.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def get_name(self, suffix: str | None = None, *, name: str | None = None) -> str:
        """Name in traces."""
        return super().get_name(suffix, name=name or self.pipeline.name)

    def invoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:
        """Answer one question.

        Raises:
            InputError: The input is not of a known form, or cannot be asked.
            RunError: The run failed.
        """
        _refuse(kwargs)
        return self._call_with_config(self._answer, input, config)

    def batch(
        self,
        inputs: list[Input],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[dict[str, Any]]:
        """Answer questions, decoded together; with ``return_exceptions`` a wrong one does not stop the others."""
        _refuse(kwargs)
        if not inputs:
            return []

        def answers(many: list[Input]) -> list[dict[str, Any] | Exception]:
            return exhaust(self._all_steps(many, return_exceptions))

        return self._batch_with_config(answers, inputs, config, return_exceptions=return_exceptions)

    def stream(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[dict[str, Any]]:
        """Answer one question piece by piece."""
        _refuse(kwargs)
        yield from self._transform_stream_with_config(iter([input]), self._chunks, config)

    async def ainvoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:
        """`invoke` in a thread."""
        _refuse(kwargs)

        async def answer(value: Input) -> dict[str, Any]:
            return (await exhaust_in_thread(lambda: self._steps([_question(value)])))[0]

        return await self._acall_with_config(answer, input, config)

    async def abatch(
        self,
        inputs: list[Input],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any | None,
    ) -> list[dict[str, Any]]:
        """`batch` in a thread."""
        _refuse(kwargs)
        if not inputs:
            return []

        async def answers(many: list[Input]) -> list[dict[str, Any] | Exception]:
            return await exhaust_in_thread(lambda: self._all_steps(many, return_exceptions))

        return await self._abatch_with_config(answers, inputs, config, return_exceptions=return_exceptions)

    async def astream(
        self, input: Input, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """`stream` in a thread."""
        _refuse(kwargs)

        async def one() -> AsyncIterator[Input]:
            yield input

        async for chunk in self._atransform_stream_with_config(one(), self._achunks, config):
            yield chunk

    def _answer(self, value: Input) -> dict[str, Any]:
        return exhaust(self._steps([_question(value)]))[0]

    def _all_steps(
        self, values: list[Input], keep_errors: bool
    ) -> Generator[None, None, list[dict[str, Any] | Exception]]:
        questions, wrong = self._split(values, keep_errors)
        return _merge((yield from self._steps(questions)), wrong, len(values))

    def _split(self, values: list[Input], keep_errors: bool) -> tuple[list[Question], dict[int, Exception]]:
        """The questions that can be asked, and what is wrong with the others, by place."""
        questions: list[Question] = []
        wrong: dict[int, Exception] = {}
        for place, value in enumerate(values):
            try:
                question = _question(value)
                if keep_errors:
                    self.pipeline.check(question)
                questions.append(question)
            except InputError as error:
                if not keep_errors:
                    raise
                wrong[place] = error
        return questions, wrong

    def _steps(self, questions: Sequence[Question]) -> Generator[None, None, list[dict[str, Any]]]:
        """Answer questions together, giving way after every event."""
        answers: dict[int, dict[str, Any]] = {}
        with closing(self.pipeline.stream_batch(questions)) as events:
            for place, event in events:
                if isinstance(event, DoneEvent):
                    answers[place] = event.answer.to_json()
                yield
        return [answers[place] for place in range(len(questions))]

    def _chunks(self, values: Iterator[Input]) -> Iterator[dict[str, Any]]:
        question = _question(next(values))
        with closing(self.pipeline.stream_batch([question])) as events:
            for _, event in events:
                chunk = _chunk(event, question)
                if chunk:
                    yield chunk

    async def _achunks(self, values: AsyncIterator[Input]) -> AsyncIterator[dict[str, Any]]:
        value = await anext(values)
        async for chunk in iterate_in_thread(lambda: self._chunks(iter([value]))):
            yield chunk


def _question(value: Input) -> Question:
    """The question in an input.

    Raises:
        InputError: It is of no known form.
    """
    if isinstance(value, str):
        return Question.of(value)
    if not isinstance(value, Mapping) or "question" not in value:
        raise InputError(
            f"expected a question or a mapping with {', '.join(_KEYS)}; found {value!r:.80}",
            hint='{"question": "...", "passages": [...]}',
        )
    unknown = [key for key in value if key not in _KEYS]
    if unknown:
        raise InputError(f"unknown key {unknown[0]!r}; expected {', '.join(_KEYS)}")
    return Question.of(value["question"], value.get("history") or (), value.get("passages"))


def _chunk(event: Event, question: Question) -> dict[str, Any] | None:
    """An event as a part of the answer's object; the parts add up to it."""
    match event:
        case PassagesEvent(passages=passages):
            return AddableDict(question=question.text, passages=[passage.to_json() for passage in passages])
        case TokenEvent(text=text) if text:
            return AddableDict(answer=text)
        case RetractEvent(characters=characters):
            return AddableDict(retract=[characters])
        case DoneEvent(answer=answer):
            told = ("question", "passages", *(("answer",) if answer.answer else ()))
            return AddableDict({key: value for key, value in answer.to_json().items() if key not in told})
    return None


def _merge(
    answers: Sequence[dict[str, Any]], wrong: Mapping[int, Exception], count: int
) -> list[dict[str, Any] | Exception]:
    """Answers and errors in the order of the inputs."""
    each = iter(answers)
    return [wrong[place] if place in wrong else next(each) for place in range(count)]


def _refuse(kwargs: Mapping[str, Any]) -> None:
    if kwargs:
        raise TypeError(f"a pipeline takes no argument {next(iter(kwargs))!r}; settings stand in its YAML")
