"""Reading YAML 1.2 as plain data."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ragdecode.errors import SpecError
from ragdecode.spec.node import Source, Table, to_plain
from ragdecode.spec.yaml_tree import MAX_BYTES, parse, read_text

SOURCE = Source("f.yaml", Path("/x"), Path("/x"))


def read(text):
    return to_plain(parse(text, SOURCE))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"), ("on", "on"), ("no", "no"), ("true", True), ("False", False), ("~", None), ("null", None),
        ("''", ""), ("'5'", "5"), ("5", 5), ("-5", -5), ("+5", 5), ("0o17", 15), ("0x1F", 31), ("017", 17),
        ("1_000", "1_000"), ("1e-5", 1e-5), ("1.", 1.0), (".5", 0.5), ("-.inf", -math.inf), ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"), ("0.1.2", "0.1.2"), ("|\n  a\n  b\n", "a\nb\n"), (">-\n  a\n  b\n", "a b"),
        ("9" * 5000, "9" * 5000),
    ],
)  # fmt: skip
def test_scalars_of_the_core_schema(text, value):
    assert read(f"k: {text}") == {"k": value}


def test_anchors_and_a_byte_order_mark(tmp_path):
    assert read("a: &x {k: [1, 2]}\nb: *x\n") == {"a": {"k": [1, 2]}, "b": {"k": [1, 2]}}
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read(read_text(path, "bom.yaml")) == {"a": 1}


def test_every_node_knows_its_line():
    tree = parse("a: 1\nb:\n  - x\n  - y: 2\nc:\nd: 3\n", SOURCE)
    assert isinstance(tree, Table)
    assert {key: place.line for key, place in tree.keys.items()} == {"a": 1, "b": 2, "c": 5, "d": 6}
    assert tree.entries["b"].items[1].entries["y"].place.line == 4
    assert tree.entries["c"].place.line == 5


def test_all_duplicate_keys_and_tags_are_listed():
    with pytest.raises(SpecError) as caught:
        parse("a: 1\na: 2\nb: !x 1\nc: {d: 1, d: 2}\n", SOURCE)
    assert [problem.line for problem in caught.value.problems] == [2, 3, 4]


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "big.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(SpecError, match="larger than"):
        read_text(path, "big.yaml")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab:-[]{}#&*!|>'\"%@`,?<\n\t ~1.", max_size=40))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(SpecError):
        read(text)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab:-[]{},\n 1.~'", max_size=30))
def test_what_is_read_is_what_the_yaml_library_constructs(text):
    """An independent construction of the same text agrees (or one of the two refuses it)."""
    yaml = YAML(typ="safe", pure=True)
    try:
        mine = read(text)
        theirs = yaml.load(text)
    except Exception:
        return
    assert mine == theirs
