"""What may stand in a field, read off its annotation: this drives the resolution of names and parts."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from ragdecode.spec.part import PartKind
from ragdecode.spec.reference import Reference, RelativePath


@dataclass(frozen=True)
class Leaf:
    """A plain value.

    Attributes:
        types: The scalar types it may have; empty if anything goes.
        literals: The only values, if they are enumerated.
        secret: Whether it is a secret.
        path: Set if it is a path.
    """

    types: frozenset[type] = frozenset()
    literals: tuple[Any, ...] = ()
    secret: bool = False
    path: RelativePath | None = None


@dataclass(frozen=True)
class Model:
    """A mapping with known keys."""

    cls: type[BaseModel]


@dataclass(frozen=True)
class OnePart:
    """A part of a kind."""

    kind: str


@dataclass(frozen=True)
class Chain:
    """A list of parts of a kind; ``folder`` is the kind of reference whose files its items may name."""

    kind: str
    folder: str | None = None


@dataclass(frozen=True)
class Many:
    """A list."""

    item: Shape


@dataclass(frozen=True)
class Named:
    """A mapping with free keys."""

    item: Shape


@dataclass(frozen=True)
class Included:
    """The name of a file of a kind, or what would stand in that file; ``words`` are texts that are no names."""

    kind: str
    inner: Shape
    words: tuple[Any, ...] = ()


@dataclass(frozen=True)
class OrValue:
    """A plain value, or something structured."""

    inner: Shape
    value: Leaf = Leaf()


Shape = Leaf | Model | OnePart | Chain | Many | Named | Included | OrValue


@dataclass(frozen=True)
class Slot:
    """A field of a model.

    Attributes:
        shape: What may stand there.
        optional: Whether null is fine.
        field: Pydantic's own description of it.
    """

    shape: Shape
    optional: bool
    field: FieldInfo


@cache
def slots(cls: type[BaseModel]) -> Mapping[str, Slot]:
    """The fields of a model by the key that YAML uses."""
    made = {}
    for name, field in cls.model_fields.items():
        shape = shape_of(field.annotation, tuple(field.metadata))
        made[field.alias or name] = Slot(shape, _optional(field.annotation) or isinstance(shape, Chain), field)
    return made


def shape_of(annotation: Any, metadata: tuple[Any, ...] = ()) -> Shape:
    """What may stand where a value of this annotated type is expected."""
    while get_origin(annotation) is Annotated:
        annotation, *extra = get_args(annotation)
        metadata = (*extra, *metadata)
    reference = next((item for item in metadata if isinstance(item, Reference)), None)
    part = next((item for item in metadata if isinstance(item, PartKind)), None)
    path = next((item for item in metadata if isinstance(item, RelativePath)), None)
    if part is not None:
        return OnePart(part.kind)
    inner = _plain_shape(annotation, path)
    if isinstance(inner, Chain):
        return Chain(inner.kind, reference.kind if reference else None)
    if reference is not None:
        return Included(reference.kind, inner, _words(annotation))
    return inner


def _plain_shape(annotation: Any, path: RelativePath | None) -> Shape:
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if origin in (Union, types.UnionType):
        return _union(arguments, path)
    if origin in (tuple, list, set, frozenset):
        item = shape_of(arguments[0]) if arguments else Leaf()
        return Chain(item.kind) if isinstance(item, OnePart) else Many(item)
    if origin in (dict, Mapping):
        return Named(shape_of(arguments[1])) if arguments else Leaf()
    if origin is Literal:
        return Leaf(frozenset(type(value) for value in arguments), arguments)
    if isinstance(annotation, type):
        if issubclass(annotation, SecretStr):
            return Leaf(frozenset({str}), secret=True)
        if issubclass(annotation, BaseModel):
            return Model(annotation)
        if annotation in (str, int, float, bool):
            return Leaf(frozenset({annotation}), path=path)
    return Leaf()


def _union(arguments: tuple[Any, ...], path: RelativePath | None) -> Shape:
    """The one structured arm if there is one, else a value of any arm's type."""
    shapes = [shape_of(arm, (path,) if path else ()) for arm in arguments if arm is not types.NoneType]
    if len(shapes) == 1:
        return shapes[0]
    structured = [shape for shape in shapes if not isinstance(shape, Leaf)]
    if len(structured) == 1:
        only = structured[0]
        if isinstance(only, Included):
            words = tuple(word for arm in arguments for word in _words(arm))
            return Included(only.kind, only.inner, (*only.words, *words))
        paths = [shape.path for shape in shapes if isinstance(shape, Leaf) and shape.path is not None]
        return OrValue(only, Leaf(path=paths[0] if paths else None))
    leaves = [shape for shape in shapes if isinstance(shape, Leaf)]
    if structured or any(not leaf.types or leaf.literals for leaf in leaves):
        return Leaf()
    types_ = frozenset[type]().union(*(leaf.types for leaf in leaves))
    return Leaf(types_, secret=any(leaf.secret for leaf in leaves), path=path)


def _words(annotation: Any) -> tuple[Any, ...]:
    """Literal values among the arms of a union."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(word for arm in get_args(annotation) for word in _words(arm))
    return ()


def _optional(annotation: Any) -> bool:
    return annotation is types.NoneType or (
        get_origin(annotation) in (Union, types.UnionType) and types.NoneType in get_args(annotation)
    )
