"""Which parts go together: refused before any model loads, with the reason."""

from __future__ import annotations

from ragdecode.spec.node import Node
from ragdecode.spec.pipeline import PipelineSpec
from ragdecode.spec.report import Report


def check_pipeline(spec: PipelineSpec, tree: Node, report: Report) -> None:
    """Add what cannot be combined to the report."""
    del spec, tree, report
