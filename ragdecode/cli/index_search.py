"""``ragdecode index search``: what an index finds, without a language model."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from ragdecode.cli.answer_view import printable
from ragdecode.cli.index_target import set_option
from ragdecode.cli.index_view import shown
from ragdecode.errors import InputError

if TYPE_CHECKING:
    from ragdecode.cli.index_searchers import ChainSearch, StoreSearch
    from ragdecode.documents.passage import Passage
    from ragdecode.indexing.hit import Hit

#: queries of stdin that are searched at once
_BATCH = 64
#: characters of a passage that are shown
_SNIPPET = 300


@click.command("search", short_help="Show what an index finds for a question.")
@click.argument("target", metavar="INDEX")
@click.argument("query")
@click.option("--store", "stores", multiple=True, metavar="NAME", help="Search this store; can be given again.")
@click.option("--top-k", default=8, show_default=True, type=click.IntRange(min=1), help="Passages to show.")
@click.option("--chain", is_flag=True, help="Run the pipeline's retrieve stages in the place of the stores alone.")
@click.option("--full", is_flag=True, help="Print whole passages.")
@set_option
@click.option("--pull", "fetch", is_flag=True, help="Fetch model weights that are not on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; one a line if QUERY is -.")
def search(
    target: str,
    query: str,
    stores: tuple[str, ...],
    top_k: int,
    chain: bool,
    full: bool,
    overrides: tuple[str, ...],
    fetch: bool,
    as_json: bool,
) -> None:
    """Show the passages that INDEX finds for QUERY. No language model is used.

    INDEX is a pipeline or an index, a YAML file or a name, or the folder of an index. All its stores are searched,
    and where there are several their rankings are fused by reciprocal rank. If QUERY is -, questions are read from
    standard input, one a line.
    """
    if chain and stores:
        raise InputError("--store has no place with --chain: the stages say what they search")
    from ragdecode.cli.index_searchers import ChainSearch, StoreSearch

    many = query == "-"
    if not many:
        _check(query)
    searcher: StoreSearch | ChainSearch
    if chain:
        searcher = ChainSearch(target, overrides, top_k, fetch)
    else:
        searcher = StoreSearch(target, overrides, stores, top_k, fetch)
    for queries in _batches(sys.stdin) if many else [[query]]:
        found = searcher.find(queries)
        if not as_json:
            click.secho(shown(searcher.title(found)), dim=True)
        for one, hits in zip(queries, found.hits, strict=True):
            if as_json:
                entry = {**searcher.facts(one, found), "hits": [_object(hit, rank) for rank, hit in enumerate(hits, 1)]}
                click.echo(json.dumps(entry, ensure_ascii=False, indent=None if many else 2))
                continue
            if many:
                click.secho(f"query: {shown(one)}", bold=True)
            _show(hits, full)


def _check(query: str, what: str = "the question") -> None:
    if not query.strip():
        raise InputError(f"{what} is empty")
    try:
        query.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{what} is not valid UTF-8") from error


def _batches(lines: Iterable[str]) -> Iterator[list[str]]:
    """Questions of a stream, blank lines left out."""
    questions = ((number, line.strip()) for number, line in enumerate(lines, 1) if line.strip())
    try:
        while batch := list(islice(questions, _BATCH)):
            for number, question in batch:
                _check(question, f"line {number} of standard input")
            yield [question for _, question in batch]
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is not valid {error.encoding}: {error.reason}") from error


def _object(hit: Hit, rank: int) -> dict[str, Any]:
    """A hit for programs."""
    passage = hit.passage
    fields = ("id", "source", "page", "heading", "start", "end", "record")
    return {
        "rank": rank,
        **{name: getattr(passage, name) for name in fields},
        "attributes": dict(passage.attributes),
        "score": hit.score,
        "scores": dict(hit.scores),
        "text": passage.text,
    }


def _show(hits: list[Hit], full: bool) -> None:
    """Hits for people."""
    if not hits:
        click.echo("no hits")
    for rank, hit in enumerate(hits, start=1):
        scores = ", ".join(f"{shown(name)} {score:.4g}" for name, score in hit.scores.items())
        text = printable(hit.passage.text).strip()
        if not full:
            text = " ".join(text.split())
            text = text if len(text) <= _SNIPPET else text[: _SNIPPET - 1].rstrip() + "…"
        click.echo(f"{click.style(f'[{rank}]', fg='cyan')} {click.style(_place(hit.passage), bold=True)}  ({scores})")
        click.echo("".join(f"    {line}\n" for line in text.split("\n")), nl=False)


def _place(passage: Passage) -> str:
    """``file:page · heading · characters start-end``."""
    page = "" if passage.page is None else f":{passage.page}"
    parts = [f"{shown(passage.source or passage.id)}{page}"]
    if passage.record:
        parts.append(f"record {shown(passage.record)}")
    if passage.heading:
        parts.append(shown(passage.heading))
    return " · ".join([*parts, f"characters {passage.start}-{passage.end}"])
