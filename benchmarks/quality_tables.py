"""The figures of `retrieval_quality.py` as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fusion_weights import chosen_elsewhere, compare


def markdown(found: Mapping[str, Any]) -> str:
    """All tables."""
    parts = [_figures(found), _agreement(found), _hybrid(found), _weights(found), _reranked(found)]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(figure: Mapping[str, float], sign: bool = False) -> str:
    """A mean with its interval."""
    form = "+.3f" if sign else ".3f"
    return f"{figure['mean']:{form}} ({figure['low']:{form}} to {figure['high']:{form}})"


def _figures(found: Mapping[str, Any]) -> str:
    rows = []
    for name, one in found.items():
        for system, figures in one["figures"].items():
            head = f"`{name}` ({one['queries']} queries, {one['documents']} documents)" if system == "bm25" else ""
            rows.append([head, system, *(spread(figure) for figure in figures.values())])
    measures = next(iter(next(iter(found.values()))["figures"].values()))
    return table(["collection", "retriever", *measures], rows)


def _agreement(found: Mapping[str, Any]) -> str:
    rows = [
        [f"`{name}`", row["system"], row["program"], row["measure"], f"{row['ours']:.4f}", f"{row['theirs']:.4f}",
         f"{row['difference']:+.4f}"]
        for name, one in found.items()
        for row in one["agreement"]
    ]  # fmt: skip
    return table(["collection", "retriever", "program", "measure", "ours", "theirs", "difference"], rows)


def _hybrid(found: Mapping[str, Any]) -> str:
    rows = [
        [f"`{name}`", other, spread(more, sign=True), f"{more['won']} / {more['lost']} / {more['alike']}"]
        for name, one in found.items()
        for other, more in one["hybrid_more"].items()
    ]
    return table(["collection", "hybrid (rrf) less", "nDCG@10", "queries won / lost / alike"], rows)


def _weights(found: Mapping[str, Any]) -> str:
    values = {name: one["weights"] for name, one in found.items()}
    choice = chosen_elsewhere(values)
    steps = list(next(iter(values.values())))
    rows = []
    for name, by_weight in values.items():
        means = [sum(by_weight[step].values()) / len(by_weight[step]) for step in steps]
        row = [f"`{name}`", *(f"**{mean:.3f}**" if mean == max(means) else f"{mean:.3f}" for mean in means)]
        if name in choice:
            better = max(("bm25", "dense"), key=lambda system: found[name]["figures"][system]["ndcg@10"]["mean"])
            more = compare(by_weight[choice[name]], found[name]["per_query"][better])
            row.append(f"{choice[name]}: {spread(more, sign=True)} over {better}")
        rows.append(row)
    return table(["weight of dense", *steps, *(["chosen on the others"] if choice else [])], rows)


def _reranked(found: Mapping[str, Any]) -> str:
    rows = [
        [f"`{name}`", str(one["queries"]), spread(one["hybrid (rrf)"]), spread(one["reranked"]),
         spread(one["more"], sign=True)]
        for name, whole in found.items()
        if (one := whole["reranked"])
    ]  # fmt: skip
    if not rows:
        return ""
    return table(["collection", "queries", "hybrid (rrf)", "reranked by query likelihood", "difference"], rows)
