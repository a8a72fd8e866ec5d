"""Rows of any data set to examples: which column holds what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import Field as SettingsField

from ragdecode.evaluation.example import Example, Field
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.turn import turns
from ragdecode.spec.settings import Settings

_MISSING = object()


class Columns(Settings):
    """Columns by what they hold; a dot goes into a mapping: ``metadata.answers``. The defaults are FlashRAG's names."""

    id: str = "id"
    """Names the example; the row's number where there is none."""
    question: str = "question"
    """What is asked."""
    references: str | None = "golden_answers"
    """Golden answers: one text or a list."""
    passages: str | None = "contexts"
    """Evidence: one text, a list of texts, or of mappings with ``text`` (or ``contents``), ``id``, ``title`` and
    ``is_gold``."""
    originals: str | None = None
    """Answers that were true before the passages were changed."""
    options: str | None = None
    """Endings to choose between."""
    correct: str | None = None
    """Place of the right option, counted from 0."""
    relevant: str | None = None
    """Ids of relevant documents: a list, or grades by id. Passages that are marked ``is_gold`` are relevant, too."""
    history: str | None = None
    """Earlier turns: mappings with ``role`` and ``content``."""
    prompts: dict[str, str] = SettingsField(default_factory=dict)
    """Exact prompts by view: the question is then not put into the pipeline's own prompt."""

    def brings(self) -> frozenset[Field]:
        """What examples may have."""
        found = {name for name in get_args(Field) if getattr(self, name)}
        if self.passages:
            found.add("relevant")
        return frozenset(found)

    def example(self, row: Mapping[str, Any], number: int) -> Example:
        """The example of a row.

        Args:
            row: The row.
            number: Its place, counted from 1.

        Raises:
            ValueError: Something is missing or of another kind.
        """
        identity = _at(row, self.id)
        passages, gold = self._passages(row)
        options = _texts(_at(row, self.options), "options", self.options)
        return Example(
            id=str(number) if identity in (_MISSING, None, "") else str(identity),
            question=_text(_at(row, self.question), "question", self.question),
            references=_texts(_at(row, self.references), "references", self.references),
            passages=passages,
            originals=_texts(_at(row, self.originals), "originals", self.originals),
            options=options,
            correct=self._correct(row, len(options)),
            relevant={**gold, **_grades(_at(row, self.relevant))},
            history=tuple(turns(_list(_at(row, self.history), "history"))),
            prompts={view: _text(_at(row, path), f"prompts.{view}", path) for view, path in self.prompts.items()},
            metadata=_plain(row.get("metadata")),
        )

    def _passages(self, row: Mapping[str, Any]) -> tuple[tuple[Passage, ...] | None, dict[str, int]]:
        found = _at(row, self.passages)
        if found is _MISSING or found is None:
            return None, {}
        items = [found] if isinstance(found, (str, Mapping)) else _list(found, "passages")
        passages, gold = [], {}
        for rank, item in enumerate(items, start=1):
            if isinstance(item, Mapping):
                text = _text(item.get("text", item.get("contents")), f"passage {rank}", "text")
                passage = Passage.of({**item, "text": text}, rank)
            elif isinstance(item, str):
                passage = Passage.of(item, rank)
            else:
                raise ValueError(f"passage {rank}: expected a text or an object with 'text', found {item!r:.80}")
            passages.append(passage)
            if isinstance(item, Mapping) and item.get("is_gold") is True:
                gold[passage.id] = 1
        return tuple(passages), gold

    def _correct(self, row: Mapping[str, Any], options: int) -> int | None:
        place = _at(row, self.correct)
        if place is _MISSING or place is None:
            return None
        if isinstance(place, str) and place.strip().isdigit():
            place = int(place)
        if not isinstance(place, int) or not 0 <= place < options:
            raise ValueError(f"'{self.correct}' is {place!r:.80}; expected the place of one of {options} options")
        return place


def _at(row: Any, path: str | None) -> Any:
    """What stands at a dotted path; a column whose own name has dots comes first."""
    if path is None:
        return _MISSING
    if isinstance(row, Mapping) and path in row:
        return row[path]
    for key in path.split("."):
        if not isinstance(row, Mapping) or key not in row:
            return _MISSING
        row = row[key]
    return row


def _text(value: Any, what: str, column: str) -> str:
    if value is _MISSING:
        raise ValueError(f"there is no '{column}' ({what})")
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"'{column}' ({what}) is {value!r:.80}; expected a text")
    return value


def _list(value: Any, what: str) -> Sequence[Any]:
    if value is _MISSING or value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"{what}: expected a list, found {value!r:.80}")
    return value


def _texts(value: Any, what: str, column: str | None) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    found = _list(value, f"'{column}' ({what})")
    for one in found:
        if not isinstance(one, str | int | float) or isinstance(one, bool):
            raise ValueError(f"'{column}' ({what}) holds {one!r:.80}; expected texts")
    return tuple(map(str, found))


def _grades(value: Any) -> dict[str, int]:
    if isinstance(value, Mapping):
        for name, grade in value.items():
            if not isinstance(grade, int):
                raise ValueError(f"the grade of {name!r} is {grade!r:.80}; expected a whole number")
        return {str(name): grade for name, grade in value.items()}
    return {str(name): 1 for name in _list(value, "relevant")}


def _plain(metadata: Any) -> Mapping[str, Any]:
    return metadata if isinstance(metadata, Mapping) else {}
