"""One pass a model over the prompt chunks and trees of a step, and what it tells of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from ragdecode.decoding.active import Active
from ragdecode.decoding.backend import Backend, Output, Segment
from ragdecode.decoding.compose import Predicted
from ragdecode.decoding.guard import Guarded
from ragdecode.decoding.request import TARGET
from ragdecode.decoding.row import Row
from ragdecode.decoding.schedule import Work
from ragdecode.decoding.segments import chunk, with_tree


@dataclass
class _Found:
    """What the passes of a step predict at the nodes of one request's tree."""

    logits: dict[str, torch.Tensor] = field(default_factory=dict)
    hidden: dict[str, torch.Tensor] = field(default_factory=dict)
    states: dict[int, torch.Tensor] = field(default_factory=dict)
    attention: torch.Tensor | None = None
    taps: dict[str, torch.Tensor] = field(default_factory=dict)
    view_states: dict[str, dict[int, torch.Tensor]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Share:
    """A segment of a pass: whose it is, and how many of its outputs are prompt places that rules read."""

    active: Active
    row: Row
    segment: Segment
    read: int
    nodes: int


def run(
    work: Sequence[Work], trees: Mapping[str, Guarded], backends: Mapping[str, Backend], vocab_size: int
) -> list[Predicted]:
    """Predictions of the requests that have trees; rows that only read their prompts move on."""
    found: dict[str, _Found] = {item.active.request.id: _Found() for item in work}
    for model, backend in backends.items():
        shares = [share for item in work for share in _shares(item, model, trees.get(item.active.request.id))]
        if not shares:
            continue
        output = backend.forward(
            [share.segment for share in shares],
            hidden=any(share.active.wants_hidden or share.active.ruling.reads_hidden for share in shares),
            states=sorted({layer for share in shares for layer in _layers(share)}),
            taps=sorted({name for share in shares for name in _taps(share)}),
        )
        start = 0
        for index, share in enumerate(shares):
            span = slice(start, start + len(share.segment.outputs))
            start = span.stop
            attention = output.attention[index] if output.attention else None
            _take(share, output, span, attention, found[share.active.request.id], vocab_size)
    ready = [item.active for item in work if item.active.request.id in trees]
    return [_predicted(active, trees[active.request.id], found[active.request.id], vocab_size) for active in ready]


def _shares(item: Work, model: str, tree: Guarded | None) -> list[_Share]:
    """The segments of one request's rows in one model's pass."""
    active = item.active
    shares = []
    for row in [row for row in active.rows.values() if row.model == model]:
        if tree is not None and row.verified:
            segment, nodes = with_tree(row, active.tokens, tree.tree), tree.tree.size
            read = row.wants(segment.base, len(segment.tokens) - nodes)
            watch = active.ruling.attends if row.view == TARGET else ()
            if read or watch:
                segment = replace(segment, outputs=[*read, *segment.outputs], watch=watch)
        elif limit := item.chunks.get(row.view, 0):
            segment, nodes = chunk(row, active.tokens, limit), 0
            read = list(segment.outputs)
        else:
            continue
        shares.append(_Share(active, row, segment, len(read), nodes))
        active.start_clock()
        active.stats.forward_rows += 1
    if shares:
        active.stats.forward_passes += 1
    return shares


def _layers(share: _Share) -> Sequence[int]:
    """Blocks whose states are read in a share's row."""
    active, view = share.active, share.row.view
    if view == TARGET:
        return sorted({*active.ruling.layers, *(active.monitor_layers if share.nodes else ())})
    return sorted({layer for rule in active.rules for layer in rule.view_layers.get(view, ())})


def _taps(share: _Share) -> Sequence[str]:
    """Vectors of the last block that are read in a share's row."""
    return share.active.ruling.taps if share.row.view == TARGET or share.read else ()


def _take(
    share: _Share, output: Output, span: slice, attention: torch.Tensor | None, found: _Found, vocab_size: int
) -> None:
    """Note what one segment's outputs say."""
    active, row, segment = share.active, share.row, share.segment
    nodes = slice(span.start + share.read, span.stop)
    if share.read:
        _read(share, output, slice(span.start, nodes.start), vocab_size)
    if not share.nodes:
        row.cached += len(segment.tokens)
        return
    row.cached = row.length(active.tokens)  # the tree's nodes count once they are committed
    found.logits[row.view] = output.logits[nodes, :vocab_size]
    if output.hidden is not None and active.wants_hidden:
        found.hidden[row.view] = output.hidden[nodes]
    states = {layer: output.states[layer][nodes] for layer in _layers(share)}
    if row.view != TARGET:
        found.view_states[row.view] = states
    else:
        found.states = states
        found.taps = {name: output.taps[name][nodes] for name in _taps(share)}
        if attention is not None:
            found.attention = attention[share.read :, :, : len(row.prompt)]


def _read(share: _Share, output: Output, span: slice, vocab_size: int) -> None:
    """Give rules what the prompt predicts where they want it, run by run of neighbouring places."""
    segment = share.segment
    places = [segment.base + offset for offset in list(segment.outputs)[: share.read]]
    logits = output.logits[span, :vocab_size]
    table = torch.log_softmax(logits if logits.dtype is torch.float64 else logits.float(), dim=-1)
    hidden = None if output.hidden is None else output.hidden[span]
    taps = {name: output.taps[name][span] for name in _taps(share)}
    first = 0
    for index in range(1, len(places) + 1):
        if index == len(places) or places[index] != places[index - 1] + 1:
            own = slice(first, index)
            told = {name: value[own] for name, value in taps.items()}
            states = None if hidden is None else hidden[own]
            _tell(share, places[first], table[own], states, told)
            first = index


def _tell(
    share: _Share, place: int, table: torch.Tensor, hidden: torch.Tensor | None, taps: Mapping[str, torch.Tensor]
) -> None:
    """Let the rules of a request read; one that fails ends its own request."""
    try:
        share.active.ruling.read(share.row.view, place, table, hidden, taps)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        share.active.failure = share.active.failure or error


def _predicted(active: Active, guarded: Guarded, found: _Found, vocab_size: int) -> Predicted:
    logits = {row.view: found.logits[row.view] for row in active.verified}
    for view, layer in active.ruling.exits.items():
        logits[view] = active.rows[TARGET].backend.project(found.states[layer])[:, :vocab_size]
    return Predicted(
        active, guarded, logits, found.hidden, found.states, found.attention, found.view_states, found.taps
    )
