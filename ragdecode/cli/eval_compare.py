"""``ragdecode eval compare``: two runs held against each other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ragdecode.cli.index_target import json_option


@click.command("compare", short_help="Hold two runs against each other.")
@click.argument("a", metavar="A", type=click.Path(path_type=Path))
@click.argument("b", metavar="B", type=click.Path(path_type=Path))
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Only this metric; may be given again.")
@click.option(
    "--pair",
    "chosen",
    multiple=True,
    metavar="OF_A=OF_B",
    help="Pipelines that belong together under different names; may be given again.",
)
@click.option(
    "--cases", type=click.IntRange(min=0), default=5, show_default=True, help="Changed examples to show here."
)
@json_option
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write the comparison as a page.")
def compare(
    a: Path,
    b: Path,
    metrics: tuple[str, ...],
    chosen: tuple[str, ...],
    cases: int,
    as_json: bool,
    html: Path | None,
) -> None:
    """Tell what changed from run A to run B, two folders that `ragdecode eval` has written.

    Differences are taken on the same examples, with bootstrap intervals and permutation tests, corrected for the number
    of comparisons by Holm's method. Pipelines of equal name and settings belong together; --pair says what else does.
    """
    from ragdecode.cli.open_model import check_target
    from ragdecode.cli.whole_file import write_whole
    from ragdecode.evaluation.report.run_folder import RunFolder
    from ragdecode.evaluation.runs.compare import compare as compared
    from ragdecode.evaluation.runs.pairing import Side, pairs

    check_target(html)
    folders = [RunFolder.open(a), RunFolder.open(b)]
    alike = folders[0].summary["name"] == folders[1].summary["name"]
    first, second = (
        Side(folder.summary, list(folder.records()), str(folder.path) if alike else "") for folder in folders
    )
    together = pairs(first, second, [_pair(one, first.systems, second.systems) for one in chosen])
    result = compared(first, second, together, metrics)
    for folder in folders:
        if folder.unread:
            result["notes"].append(f"{folder.path}: {len(folder.unread)} lines are no records and were left out")
    if html is not None:
        from ragdecode.evaluation.report.compare import page

        write_whole(html, page(result, first, second, together))
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False, indent=2, allow_nan=False))
    else:
        click.echo("\n".join(_lines(result, cases)))
    if html is not None:
        click.echo(f"written: {html}", err=True)


def _pair(text: str, first: Sequence[str], second: Sequence[str]) -> tuple[str, str]:
    """The two names of ``OF_A=OF_B``; names may hold ``=`` themselves.

    Raises:
        InputError: There is no ``=``.
    """
    from ragdecode.errors import InputError

    places = [at for at, sign in enumerate(text) if sign == "="]
    if not places:
        raise InputError(f"--pair {text!r}: expected a pipeline of A, '=', and one of B")
    known = [at for at in places if text[:at] in first and text[at + 1 :] in second]
    at = (known or places)[0]
    return text[:at], text[at + 1 :]


def _lines(result: Mapping[str, Any], cases: int) -> list[str]:
    """The comparison for people."""
    lines = [f"A: {result['a']['title']}, B: {result['b']['title']}", ""]
    if result["comparisons"]:
        lines += [*_table(result), ""]
    if result["together"]:
        lines += [*_whole(result), ""]
    lines += _speed(result["speed"])
    lines += [
        f"failed: only in A {len(one['only_a'])}, only in B {len(one['only_b'])}, in both {one['both']}"
        f"  ({_where(one)})"
        for one in result["failures"]
        if one["only_a"] or one["only_b"] or one["both"]
    ]
    changed = result["changed"]
    if changed and cases:
        lines += ["", f"{len(changed)} examples changed; those that changed most:"]
        for one in changed[:cases]:
            lines += ["", *_case(one)]
    return [*lines, *([""] if result["notes"] else []), *(f"note: {note}" for note in result["notes"])]


def _table(result: Mapping[str, Any]) -> list[str]:
    head = ("metric", "pipeline, data set", "A", "B", "B - A", "p corrected", "better/worse", "n")
    rows = [head]
    for one in result["comparisons"]:
        facts = result["metrics"][one["metric"]]
        sign = " *" if one["p_holm"] is not None and one["p_holm"] <= 0.05 else ""
        difference = "-"
        if one["difference"] is not None:
            difference = f"{one['difference']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]{sign}"
        title = facts["title"] + ("" if facts["higher_is_better"] else " (lower is better)")
        rows.append(
            (
                title,
                _where(one),
                _number(one["a"]),
                _number(one["b"]),
                difference,
                _number(one["p_holm"]),
                f"{one['better']}/{one['worse']}",
                str(one["n"]),
            )
        )
    count = sum(one["p"] is not None for one in result["comparisons"])
    return [*_columns(rows), f"* more than chance: p at most 0.05 after Holm's correction over {count} comparisons"]


def _whole(result: Mapping[str, Any]) -> list[str]:
    """Metrics of whole cells, which no single answer has: not paired."""
    rows = [("of all answers together", "pipeline, data set", "A", "B")]
    rows += [(one["title"], _where(one), _ends(one["a"]), _ends(one["b"])) for one in result["together"]]
    return _columns(rows)


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, wide, strict=True)).rstrip() for row in rows]


def _ends(figure: Mapping[str, float | None]) -> str:
    if figure["low"] is None:
        return _number(figure["mean"])
    return f"{_number(figure['mean'])} [{_number(figure['low'])}, {_number(figure['high'])}]"


def _speed(speeds: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"tokens/s: A {one['a']:.1f}, B {one['b']:.1f}, B/A {one['ratio']:.2f} "
        f"[{one['low']:.2f}, {one['high']:.2f}]  ({_where(one)})"
        for one in speeds
        if one["ratio"] is not None
    ]


def _case(one: Mapping[str, Any]) -> list[str]:
    moved = ", ".join(f"{name} {_number(both['a'])} -> {_number(both['b'])}" for name, both in one["metrics"].items())
    lines = [f"{one['dataset']} {one['id']} ({_where(one)}): {_short(one['question'])}"]
    lines += [f"  A: {_short(one['a'])}", f"  B: {_short(one['b'])}"]
    return [*lines, f"  {moved}"] if moved else lines


def _where(one: Mapping[str, Any]) -> str:
    from ragdecode.evaluation.report.compare import pair_name

    return f"{pair_name(one)}, {one['dataset']}"


def _short(text: str) -> str:
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return line if len(line) <= 160 else line[:159] + "…"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
