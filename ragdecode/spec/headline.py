"""A pipeline in one line: ``hybrid % 8 >> rerank % 4 >> decode[cad + prompt_lookup]``."""

from __future__ import annotations

from collections.abc import Sequence

from ragdecode.spec.part import Part
from ragdecode.spec.pipeline import PipelineSpec


def headline(spec: PipelineSpec) -> str:
    """The stages in order, with how many passages each keeps and what acts while decoding."""
    decode = spec.decode
    acting = [
        part.name
        for part in (
            *decode.rule,
            *decode.draft,
            *decode.constraint,
            *decode.monitor,
            *([decode.search] if decode.search else []),
        )
    ]
    last = f"decode[{' + '.join(acting) or 'plain'}]"
    return f"{chain_headline(spec.retrieve)} >> {last}" if spec.retrieve else last


def chain_headline(chain: Sequence[Part]) -> str:
    """A chain of retrieval stages in one line."""
    return " >> ".join(_stage(part) for part in chain)


def _stage(part: Part) -> str:
    top_k = getattr(part.settings, "top_k", None)
    return part.name if top_k is None else f"{part.name} % {top_k}"
