"""``ragdecode index build``: bring an index up to date."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ragdecode.cli.index_target import json_option, load_target, set_option, spec_of, target_argument

if TYPE_CHECKING:
    from ragdecode.cli.open_pipeline import StageProgress
    from ragdecode.documents.inventory import Inventory
    from ragdecode.indexing.estimate import Estimate
    from ragdecode.indexing.memory.key_model import KeyModel
    from ragdecode.indexing.models import IndexModels
    from ragdecode.indexing.report import BuildReport
    from ragdecode.spec.index import IndexSpec
    from ragdecode.spec.pipeline import EngineSpec

#: patterns of a corpus that are shown
_PATTERNS = 6


@click.command("build")
@target_argument
@set_option
@json_option
@click.option("--dry-run", is_flag=True, help="Look at the corpus, say what a build would take, and stop.")
@click.option("--force", is_flag=True, help="Build everything anew.")
@click.option("--pull", "fetch", is_flag=True, help="Fetch model weights that are not on this machine.")
@click.option(
    "--workers", default=0, type=click.IntRange(min=0), metavar="N", help="Read, split and embed in N Ray workers."
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="FILE.jsonl",
    help="Write a JSON line for every file met: read, unchanged, skipped or left out, and why.",
)
def build(
    target: str,
    overrides: tuple[str, ...],
    as_json: bool,
    dry_run: bool,
    force: bool,
    fetch: bool,
    workers: int,
    report: Path | None,
) -> None:
    """Bring the index of TARGET up to date with its corpus.

    Says what the build will take before it reads anything. Files that have not changed are not read again.
    """
    from ragdecode.cli.open_pipeline import StageProgress
    from ragdecode.indexing.location import index_path
    from ragdecode.indexing.models import IndexModels
    from ragdecode.spec.pipeline import EngineSpec

    document = load_target(target, overrides)
    spec, path = spec_of(document), index_path(document)
    engine = EngineSpec() if document.kind == "indexes" else document.spec.engine
    model = None if document.kind == "indexes" else document.spec.model
    models = IndexModels(spec, model, device=engine.device, fetch=fetch)
    progress = StageProgress("index")
    run = _Run(spec, path, models, progress, engine)
    click.echo(_headline(spec, path), err=True)
    try:
        if dry_run:
            run.look(force)
            outcome = None
        else:
            outcome = run.build(force, workers, report)
    finally:
        progress.close()
    run.show(outcome, as_json)


class _Run:
    """One run of the command.

    Attributes:
        inventory: What lies in the corpus.
        expected: What the build was expected to take; None if there was nothing to do.
    """

    inventory: Inventory
    expected: Estimate | None = None

    def __init__(
        self, spec: IndexSpec, path: Path, models: IndexModels, progress: StageProgress, engine: EngineSpec
    ) -> None:
        self.spec = spec
        self.path = path
        self.models = models
        self.progress = progress
        self.engine = engine

    @cached_property
    def key_model(self) -> KeyModel:
        """The language model, for stores that it makes."""
        from ragdecode.pipeline.key_model import index_key_model

        return index_key_model(self.models, self.engine)

    def build(self, force: bool, workers: int, report: Path | None) -> BuildReport:
        """Build, and write the report that was asked for, even if there is nothing to index."""
        from ragdecode.cli.index_report import FileReport
        from ragdecode.indexing.build import build_index
        from ragdecode.indexing.report import EmptyCorpusError

        files = FileReport(report, self.path) if report else None
        try:
            outcome = build_index(
                self.spec,
                self.path,
                token_offsets=self.models.token_offsets,
                tokenizer_fingerprint=self.models.tokenizer_fingerprint,
                tokenizer=lambda: self.models.tokenizer,
                key_model=lambda: self.key_model,
                encoders=self.models.encoder,
                progress=self.progress,
                announce=self.announce,
                force=force,
                workers=workers,
            )
        except EmptyCorpusError as error:
            if files:
                files.write_empty(self.inventory, error.skipped)
            raise
        except KeyboardInterrupt:
            self.progress.close()
            click.echo("\nthe index is as it was; the next build goes on with what this one has done", err=True)
            raise
        if files:
            files.write(self.inventory, outcome)
        return outcome

    def look(self, force: bool) -> None:
        """Tell what a build would take."""
        from ragdecode.documents.inventory import scan
        from ragdecode.indexing.building.continuing import continuable
        from ragdecode.indexing.estimate import estimate
        from ragdecode.indexing.file_table import FileTable
        from ragdecode.indexing.files import read_listing

        inventory = scan(self.spec.corpus, self.progress)
        old = None if force else continuable(self.path, self.spec, self.models.tokenizer_fingerprint)[0]
        known = FileTable(read_listing(self.path, old) if old else ())
        expected = estimate(self.spec, inventory, old, known, self.path, self.models.encoder, lambda: self.key_model)
        self.announce(inventory, expected)

    def announce(self, inventory: Inventory, expected: Estimate | None) -> None:
        """Say what lies in the corpus, before it is read."""
        self.inventory, self.expected = inventory, expected
        self.progress.close()
        if expected is not None:
            for line in expected.lines():
                click.echo(f"  {line}", err=True)

    def show(self, outcome: BuildReport | None, as_json: bool) -> None:
        """Print what was done; None if nothing was."""
        from ragdecode.cli.index_view import estimate_object, left_out_counts, left_out_lines, skipped_lines
        from ragdecode.documents.walk import Skipped

        skipped = outcome.skipped if outcome else tuple(one for one in self.inventory if isinstance(one, Skipped))
        if as_json:
            done = asdict(outcome) if outcome else {"dry_run": True, "skipped": [asdict(one) for one in skipped]}
            facts = {"estimate": estimate_object(self.expected), "left_out": left_out_counts(self.inventory)}
            click.echo(json.dumps({"path": str(self.path), **done, **facts}, ensure_ascii=False, indent=2))
            return
        if outcome and outcome.reason:
            click.echo(f"built anew: {outcome.reason}")
        for stage in outcome.stages if outcome else ():
            click.echo(str(stage))
        for line in left_out_lines(self.inventory):
            click.echo(line)
        for line in skipped_lines(skipped, "--report FILE lists all"):
            click.echo(line)
        if outcome:
            for line in skipped_lines(outcome.flaws, "--report FILE lists all", "in part"):
                click.echo(line)
            click.echo(str(outcome))


def _headline(spec: IndexSpec, path: Path) -> str:
    places = [part.name for part in spec.corpus.loaders]
    if spec.corpus.path is not None:
        shown, more = spec.corpus.include[:_PATTERNS], len(spec.corpus.include) - _PATTERNS
        patterns = ", ".join(shown) + (f" and {more} more patterns" if more > 0 else "")
        places.insert(0, f"{spec.corpus.path} ({patterns})")
    stores = ", ".join(part.name for part in spec.stores)
    split = f"passages of {spec.split.tokens} tokens, {spec.split.overlap} shared"
    return f"index {path}\n  from {', '.join(places)}\n  {split}; stores: {stores}"
