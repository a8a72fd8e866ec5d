"""Turns a tree of YAML into one whole document: overrides applied, names replaced by files, parts in one form.

It is driven by the typed specs, so a plug-in's settings may hold names, paths, secrets and parts like any other.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from ragdecode.errors import SpecError
from ragdecode.spec import registry
from ragdecode.spec.catalogue import catalogue_root
from ragdecode.spec.include import Inclusion, locate, open_file, unknown_name
from ragdecode.spec.leaf import check_leaf
from ragdecode.spec.nearest import did_you_mean
from ragdecode.spec.node import Items, Node, Path_, Place, Scalar, Table, describe, from_plain
from ragdecode.spec.override import Override, replaced
from ragdecode.spec.part import Part
from ragdecode.spec.part_form import WrittenPart, head, item_position, part_form, unknown_part
from ragdecode.spec.reference import FOLDERS
from ragdecode.spec.report import Report
from ragdecode.spec.shape import Chain, Included, Leaf, Many, Model, Named, OnePart, OrValue, Shape, Slot, slots


class Resolver:
    """Resolves one document.

    Attributes:
        report: What was wrong.
        inclusions: The names that were replaced.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        self.inclusions: list[Inclusion] = []

    def resolve(self, node: Node | None, shape: Shape, sets: list[Override], path: Path_) -> Node:
        """The node as it is meant; on a problem the node comes back as far as it could be resolved.

        Args:
            node: What is written, None if nothing is (then there are overrides below it).
            shape: What may stand here.
            sets: Overrides of the node or of what is below it, in the order of the command line.
            path: Where this is.
        """
        node, sets = replaced(node, sets)
        if isinstance(shape, OrValue):
            if not sets and not isinstance(node, Table | Items):
                return self._value(node, shape.value, sets, path)
            shape = shape.inner
        if isinstance(shape, Included):
            if isinstance(node, Scalar) and node.value in shape.words:
                return node
            node, shape = self._include(node, shape, path), shape.inner
        if node is not None and self.report.judged(path):
            return node
        if isinstance(shape, Model):
            return self._model(node, shape.cls, sets, path)
        if isinstance(shape, OnePart):
            return self._part(node, shape.kind, sets, path)
        if isinstance(shape, Chain):
            return self._chain(node, shape, sets, path)
        if isinstance(shape, Many):
            return self._many(node, shape.item, sets, path)
        if isinstance(shape, Named):
            return self._named(node, shape.item, sets, path)
        return self._value(node, shape if isinstance(shape, Leaf) else Leaf(), sets, path)

    def _include(self, node: Node | None, shape: Included, path: Path_) -> Node | None:
        """The content of the file, where a name is written."""
        if not isinstance(node, Scalar) or node.value is None:
            return node
        if not isinstance(node.value, str):
            expected = f"expected a name of a file in {FOLDERS[shape.kind]}/, or a mapping"
            self.report.add(node.place, path, f"{expected}; found {describe(node)}")
            return node
        content = self._open(node.value, shape.kind, node.place, path)
        if content is None:
            if not self.report.judged(path):
                self.report.append(path, unknown_name(shape.kind, node.value, node.place, self.report.show(path)))
            return node
        return with_name(content, node.value) if shape.kind == "models" else content

    def _open(self, name: str, kind: str, place: Place, path: Path_, shown: Path_ | None = None) -> Node | None:
        """The tree of the file that a name means, None if there is none (or it is broken, with problems)."""
        try:
            found = locate(kind, name, place.source)
            if found is None:
                return None
            file, root = found
            content = open_file(file, root, place)
        except SpecError as error:
            self.report.extend(error, place, path)
            return None
        from_catalogue = root == catalogue_root()
        written = self.report.show(path if shown is None else shown)
        self.inclusions.append(Inclusion(written, kind, name, file, from_catalogue))
        return content

    def _model(self, node: Node | None, cls: type[BaseModel], sets: list[Override], path: Path_) -> Node:
        fields = slots(cls)
        if node is None or (_is_null(node) and sets):
            node = Table(_place(node, sets), {})
        if not isinstance(node, Table):
            keys = ", ".join(list(fields)[:8])
            self.report.add(node.place, path, f"expected a mapping with {keys}; found {describe(node)}")
            return node
        entries: dict[str, Node] = {}
        for key in dict.fromkeys([*node.entries, *(item.keys[0] for item in sets)]):
            below = [item.below() for item in sets if item.keys[0] == key]
            value = node.entries.get(key)
            slot = fields.get(key)
            if slot is None:
                value = value if value is not None else below[-1].value
                place = node.keys.get(key, value.place)
                self.report.add(place, (*path, key), f"unknown key '{key}'", did_you_mean(key, fields))
                entries[key] = value
                continue
            if value is None:
                value = self._default(slot, _place(None, below))
            entries[key] = self._field(value, slot, below, (*path, key))
        for key, slot in fields.items():
            if key in entries:
                continue
            if slot.field.is_required():
                self._missing(key, slot, node.place, (*path, key))
            elif isinstance(slot.shape, Included | OnePart | Chain) and slot.field.default:
                # a default may name files and parts like anything that is written
                entries[key] = self._field(self._default(slot, node.place), slot, [], (*path, key))
        return Table(node.place, entries, node.keys)

    def _field(self, value: Node | None, slot: Slot, sets: list[Override], path: Path_) -> Node:
        after, later = replaced(value, sets)
        if isinstance(after, Scalar) and after.value is None and not later and slot.optional:
            return after
        return self.resolve(value, slot.shape, sets, path)

    def _default(self, slot: Slot, place: Place) -> Node | None:
        """A field's default as a tree, for overrides to reach into."""
        default = slot.field.get_default(call_default_factory=True)
        if default is PydanticUndefined or default is None:
            return None
        return from_plain(_plain(default), place)

    def _missing(self, key: str, slot: Slot, place: Place, path: Path_) -> None:
        text = (slot.field.description or "").strip().split("\n")[0]
        self.report.add(place, path, f"'{key}' is missing" + (f": {text}" if text else ""))

    def _part(self, node: Node | None, kind: str, sets: list[Override], path: Path_) -> Node:
        """A part as a one-key mapping."""
        if node is None or (_is_null(node) and sets):
            node = from_plain({sets[0].keys[0]: {}}, _place(node, sets))
        written = part_form(node, kind, path, self.report)
        if written is None:
            return node
        info = registry.find(kind, written.name)
        if info is None:
            shown = self.report.show((*path, written.name))
            self.report.append(path, unknown_part(kind, written, shown))
            return node
        below = self._of_part(written, kind, sets, path)
        settings, below = replaced(written.settings, below)
        if settings is None or _is_null(settings):
            settings = Table(written.place, {})
        if isinstance(settings, Scalar) and (bare := getattr(info.settings, "bare", "")):
            settings = Table(settings.place, {bare: settings})
        made = self.resolve(settings, Model(info.settings), below, (*path, written.name))
        return Table(written.place, {written.name: made}, {written.name: written.place})

    def _of_part(self, written: WrittenPart, kind: str, sets: list[Override], path: Path_) -> list[Override]:
        """The overrides of a part's settings; those of other parts are problems."""
        for item in sets:
            if item.keys[0] != written.name:
                hint = f"to use another {kind}, set the whole: {self.report.show(path)}={item.keys[0]}"
                message = f"there is no '{item.keys[0]}' here; the {kind} is '{written.name}'"
                self.report.add(item.value.place, (*path, item.keys[0]), message, hint)
        return [item.below() for item in sets if item.keys[0] == written.name]

    def _chain(self, node: Node | None, chain: Chain, sets: list[Override], path: Path_) -> Node:
        items = self._flatten(node, chain, path)
        below: dict[int, list[Override]] = {}
        for item in sets:
            position = item_position(item, items, chain.kind, path, self.report)
            if position is None:
                continue
            if position == len(items):
                items.append(Scalar(item.value.place, None) if item.keys[0].isdigit() else _named_part(item))
            below.setdefault(position, []).append(item.below() if item.keys[0].isdigit() else item)
        heads = [head(item) for item in items]
        for position, name in enumerate(heads):
            if name is not None and heads.count(name) == 1:
                self.report.hidden.add((*path, position))
        made: list[Node] = []
        for position, part in enumerate(items):
            at = (*path, position)
            if chain.folder is not None and isinstance(part, Scalar) and self._stray(part, chain, at):
                made.append(part)
            else:
                made.append(self.resolve(part, OnePart(chain.kind), below.get(position, []), at))
        return Items(_place(node, sets), tuple(made))

    def _stray(self, item: Scalar, chain: Chain, path: Path_) -> bool:
        """Whether a bare name is neither a file (those are spliced in by now) nor a part; reports it."""
        if not isinstance(item.value, str) or registry.find(chain.kind, item.value) is not None:
            return False
        assert chain.folder is not None
        others = list(registry.parts(chain.kind))
        shown = self.report.show(path)
        self.report.append(path, unknown_name(chain.folder, item.value, item.place, shown, others))
        return True

    def _flatten(self, node: Node | None, chain: Chain, path: Path_) -> list[Node]:
        """The parts of a chain as written, files spliced in."""
        if node is None or _is_null(node):
            return []
        if isinstance(node, Items):
            return [part for item in node.items for part in self._flatten_item(item, chain, path)]
        return self._flatten_item(node, chain, path)

    def _flatten_item(self, node: Node, chain: Chain, path: Path_) -> list[Node]:
        if chain.folder is None or not isinstance(node, Scalar) or not isinstance(node.value, str):
            return [node]
        content = self._open(node.value, chain.folder, node.place, (*path, node.value), shown=path)
        if content is not None:
            return self._flatten(content, chain, path)
        return [] if self.report.judged((*path, node.value)) else [node]

    def _many(self, node: Node | None, item: Shape, sets: list[Override], path: Path_) -> Node:
        node = Items(_place(node, sets), ()) if node is None else node
        if not isinstance(node, Items):
            self.report.add(node.place, path, f"expected a list; found {describe(node)}", "write [a, b] or '- a' lines")
            return node
        items: list[Node | None] = list(node.items)
        for override in sets:
            key = override.keys[0]
            if not key.isdigit() or int(key) > len(items):
                message = f"there is no item {key!r}; the list has {len(items)}"
                self.report.add(override.value.place, (*path, key), message, "items are counted from 0")
            elif int(key) == len(items):
                items.append(None)
        made = []
        for position, value in enumerate(items):
            below = [override.below() for override in sets if override.keys[0] == str(position)]
            made.append(self.resolve(value, item, below, (*path, position)))
        return Items(node.place, tuple(made))

    def _named(self, node: Node | None, item: Shape, sets: list[Override], path: Path_) -> Node:
        if node is None or (_is_null(node) and sets):
            node = Table(_place(node, sets), {})
        if not isinstance(node, Table):
            self.report.add(node.place, path, f"expected a mapping of names; found {describe(node)}")
            return node
        entries: dict[str, Node] = {}
        for key in dict.fromkeys([*node.entries, *(override.keys[0] for override in sets)]):
            below = [override.below() for override in sets if override.keys[0] == key]
            value, below = replaced(node.entries.get(key), below)
            if isinstance(value, Scalar) and value.value is None and isinstance(item, Model):
                value = Table(value.place, {})
            entries[key] = self.resolve(value, item, below, (*path, key))
        return Table(node.place, entries, node.keys)

    def _value(self, node: Node | None, leaf: Leaf, sets: list[Override], path: Path_) -> Node:
        if sets:
            known = leaf.types or leaf.literals or leaf.secret
            if known or isinstance(node, Scalar):
                key = sets[0].keys[0]
                hint = f"it is a value: --set {self.report.show(path)}=..."
                self.report.add(sets[0].value.place, (*path, key), f"there is nothing below '{path[-1]}'", hint)
                return node if node is not None else sets[0].value
            inner: Shape = Leaf()
            return (self._many if isinstance(node, Items) else self._named)(node, inner, sets, path)
        assert node is not None
        return check_leaf(node, leaf, path, self.report)


def with_name(model: Node, name: str) -> Node:
    """A model's document with its ``name`` filled in."""
    if not isinstance(model, Table) or "name" in model.entries:
        return model
    return Table(model.place, {"name": Scalar(model.place, name), **model.entries}, model.keys)


def _plain(default: Any) -> Any:
    if isinstance(default, BaseModel):
        return default.model_dump(mode="json", exclude_unset=True)
    if isinstance(default, Part):
        return default.to_yaml()
    if isinstance(default, list | tuple):
        return [_plain(item) for item in default]
    return default


def _place(node: Node | None, sets: list[Override]) -> Place:
    return node.place if node is not None else sets[0].value.place


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None


def _named_part(item: Override) -> Node:
    return from_plain({item.keys[0]: {}}, item.value.place)
