"""The reader ``huggingface``."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import model_validator

from ragdecode.errors import InputError
from ragdecode.evaluation.columns import Columns
from ragdecode.evaluation.dataset import DatasetReader, Mistake
from ragdecode.evaluation.example import Example, Field
from ragdecode.spec.reference import RelativePath
from ragdecode.spec.registry import register
from ragdecode.spec.secret import Secret
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    from datasets import Dataset


class HuggingFaceSettings(Settings):
    """Settings of data sets of the Hugging Face hub."""

    repo: str | None = None
    """Repository on the hub, ``owner/name``."""
    path: Annotated[str | None, RelativePath()] = None
    """In the place of ``repo``: a folder that ``save_to_disk`` wrote; relative to the YAML file."""
    name: str | None = None
    """Which configuration of the data set."""
    split: str = "validation"
    """Which split."""
    revision: str | None = None
    """Branch, tag or commit of the repository; a commit pins the data."""
    token: Secret | None = None
    """Access token for a private repository, as ``${ENV:NAME}``."""
    columns: Columns = Columns()
    """Which column holds what: ``references: answers.text`` for SQuAD on the hub."""

    @model_validator(mode="after")
    def _one(self) -> HuggingFaceSettings:
        if (self.repo is None) == (self.path is None):
            raise ValueError("name one: 'repo' or 'path'")
        return self


@register("dataset", "huggingface", HuggingFaceSettings)
class HuggingFace(DatasetReader[HuggingFaceSettings]):
    """A data set of the Hugging Face hub, or one that was saved to disk; needs the extra ``datasets``."""

    @property
    def brings(self) -> frozenset[Field]:
        """See `DatasetReader.brings`."""
        return self.settings.columns.brings()

    def read(self) -> Iterator[Example | Mistake]:
        """See `DatasetReader.read`."""
        for number, row in enumerate(self._opened, start=1):
            try:
                yield self.settings.columns.example(row, number)
            except ValueError as error:
                yield Mistake(f"{self.settings.repo or self.settings.path}: row {number}", str(error))

    def fingerprint(self) -> str:
        """See `DatasetReader.fingerprint`."""
        rows: Any = self._opened
        return str(rows._fingerprint)

    @property
    def _opened(self) -> Dataset:
        settings = self.settings
        if find_spec("datasets") is None:
            raise InputError(
                "the reader 'huggingface' needs the package datasets, which is not installed",
                hint="pip install 'ragdecode[datasets]'",
            )
        import datasets

        try:
            if settings.path is not None:
                found = datasets.load_from_disk(settings.path)
            else:
                token = settings.token.get_secret_value() if settings.token else None
                found = datasets.load_dataset(settings.repo, settings.name, revision=settings.revision, token=token)
        except Exception as error:  # it fails in many ways: network, layout, names
            where = settings.repo or settings.path
            first = str(error).strip().split("\n", 1)[0]
            raise InputError(f"the data set {where} cannot be opened: {type(error).__name__}: {first}") from error
        if isinstance(found, datasets.DatasetDict):
            if settings.split not in found:
                raise InputError(f"there is no split '{settings.split}'; there are {', '.join(found)}")
            found = found[settings.split]
        return found
