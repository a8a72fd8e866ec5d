"""Reads YAML 1.2 text into a tree with lines: plain data only, no tags, no duplicate keys, bounded aliases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragdecode.errors import Problem, SpecError
from ragdecode.spec.node import Items, Node, Place, Scalar, Source, Table
from ragdecode.spec.yaml_scalar import plain_scalar

#: Bounds that no honest file comes near; they stop alias bombs and runaway nesting.
MAX_BYTES = 1_000_000
MAX_NODES = 50_000
MAX_DEPTH = 60


def read_text(path: Path, label: str) -> str:
    """A YAML file's text.

    Raises:
        SpecError: It cannot be read, is not UTF-8, or is too large.
    """
    try:
        if path.is_dir():
            raise SpecError([Problem("this is a folder; expected a YAML file", file=label)])
        if path.stat().st_size > MAX_BYTES:
            raise SpecError([Problem(f"the file is larger than {MAX_BYTES // 1000} kB; not a YAML spec", file=label)])
        data = path.read_bytes()
    except OSError as error:
        raise SpecError([Problem(f"cannot be read: {error.strerror or error}", file=label)]) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        problem = Problem("the file is not UTF-8 text", file=label, line=line, hint="save it as UTF-8")
        raise SpecError([problem]) from error


def parse(text: str, source: Source) -> Node:
    """The tree of one YAML document.

    Raises:
        SpecError: The text is not YAML, or not plain data; every duplicate key and tag is listed.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    tree = _Tree(source)
    try:
        root = tree.document(YAML(typ="safe", pure=True).parse(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        raise SpecError([*tree.problems, _syntax(error, text, line, source)]) from error
    except YAMLError as error:
        raise SpecError([Problem(_reader_message(error), file=source.label)]) from error
    except _TooMuchError as error:
        raise SpecError([*tree.problems, error.problem]) from None
    if tree.problems:
        raise SpecError(tree.problems)
    return root


class _TooMuchError(Exception):
    """The document is too deep, too large, or refers to itself; reading it stops."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class _Tree:
    """Builds nodes from the parser's events, counting what aliases would expand to."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.anchors: dict[str, tuple[Node, int]] = {}
        self.open: set[str] = set()

    def document(self, events: Iterator[Any]) -> Node:
        from ruamel.yaml.events import DocumentStartEvent, StreamEndEvent, StreamStartEvent

        root: Node = Scalar(Place(self.source, 1), None)
        seen = False
        for event in events:
            if isinstance(event, DocumentStartEvent):
                if seen:
                    raise _TooMuchError(self._problem("a second document starts here; expected one", event))
                seen = True
                root, _ = self._node(next(events), events, 0)
            elif isinstance(event, StreamEndEvent):
                break
            elif isinstance(event, StreamStartEvent):
                continue
        return root

    def _problem(self, message: str, event: Any, hint: str | None = None) -> Problem:
        return Problem(message, file=self.source.label, line=event.start_mark.line + 1, hint=hint)

    def _node(self, event: Any, events: Iterator[Any], depth: int) -> tuple[Node, int]:
        """The next node and how many nodes it expands to."""
        from ruamel.yaml.events import AliasEvent, MappingStartEvent, ScalarEvent

        if isinstance(event, AliasEvent):
            return self._alias(event)
        if depth > MAX_DEPTH:
            raise _TooMuchError(self._problem(f"nested more than {MAX_DEPTH} levels deep", event))
        if event.tag is not None:
            tag = str(event.tag)
            self.problems.append(
                self._problem(f"the tag {tag!r} is not allowed; YAML here is plain data", event, "remove the tag")
            )
        anchor = event.anchor
        if anchor is not None:
            self.open.add(anchor)
        place = Place(self.source, event.start_mark.line + 1)
        node: Node
        if isinstance(event, ScalarEvent):
            # style is None or "" for plain scalars; quoted and block ones are always text
            node, size = Scalar(place, event.value if event.style else plain_scalar(event.value)), 1
        elif isinstance(event, MappingStartEvent):
            node, size = self._mapping(place, events, depth)
        else:
            node, size = self._sequence(place, events, depth)
        if size > MAX_NODES:
            raise _TooMuchError(self._problem(f"more than {MAX_NODES} values once aliases are followed", event))
        if anchor is not None:
            self.open.discard(anchor)
            self.anchors[anchor] = (node, size)
        return node, size

    def _alias(self, event: Any) -> tuple[Node, int]:
        if event.anchor in self.open:
            raise _TooMuchError(self._problem(f"the alias *{event.anchor} contains itself", event))
        if event.anchor not in self.anchors:
            hint = "text that starts with * needs quotes"
            raise _TooMuchError(self._problem(f"the alias *{event.anchor} has no anchor before it", event, hint))
        return self.anchors[event.anchor]

    def _sequence(self, place: Place, events: Iterator[Any], depth: int) -> tuple[Node, int]:
        from ruamel.yaml.events import SequenceEndEvent

        items: list[Node] = []
        total = 1
        for event in events:
            if isinstance(event, SequenceEndEvent):
                break
            node, size = self._node(event, events, depth + 1)
            items.append(node)
            total += size
        return Items(place, tuple(items)), total

    def _mapping(self, place: Place, events: Iterator[Any], depth: int) -> tuple[Node, int]:
        from ruamel.yaml.events import MappingEndEvent

        entries: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        total = 1
        for event in events:
            if isinstance(event, MappingEndEvent):
                break
            key, _ = self._node(event, events, depth + 1)
            value, size = self._node(next(events), events, depth + 1)
            total += size + 1
            name = self._key(key, event)
            if name in entries:
                first = keys[name].line
                self.problems.append(
                    self._problem(f"the key '{name}' stands twice; first on line {first}", event, "remove one")
                )
                continue
            keys[name] = Place(self.source, event.start_mark.line + 1)
            if isinstance(value, Scalar) and value.value is None:
                # the parser puts nothing on the line where the next thing starts
                value = Scalar(keys[name], None)
            entries[name] = value
        return Table(place, entries, keys), total

    def _key(self, key: Node, event: Any) -> str:
        if isinstance(key, Scalar) and isinstance(key.value, str):
            if key.value == "<<":
                self.problems.append(self._problem("'<<' (merge) is not part of YAML 1.2", event, "write the keys out"))
            return key.value
        text = str(key.value) if isinstance(key, Scalar) else "?"
        self.problems.append(self._problem(f"keys are text; found {text!r}", event, f'write "{text}" in quotes'))
        return text


def _syntax(error: Any, text: str, line: int | None, source: Source) -> Problem:
    lines = text.splitlines()
    shown = lines[line - 1] if line is not None and line <= len(lines) else ""
    if "\t" in shown[: len(shown) - len(shown.lstrip())]:
        return Problem("a tab in the indentation", file=source.label, line=line, hint="YAML is indented by spaces")
    said = " ".join(str(part) for part in (error.context, error.problem) if part)
    hint = None
    if "mapping values are not allowed" in said:
        hint = "a value with ': ' in it needs quotes, or the indentation is off"
    return Problem(f"not valid YAML: {said}", file=source.label, line=line, hint=hint)


def _reader_message(error: Exception) -> str:
    return "not valid YAML: " + " ".join(str(error).split())
