"""Documents that loaders bring into a corpus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ragdecode.documents.loader import Loaded, Loader
from ragdecode.documents.walk import Skipped
from ragdecode.errors import RagDecodeError, RunError
from ragdecode.spec.part import Part


def loaded(loaders: Sequence[Part]) -> Iterator[Loaded | Skipped]:
    """All documents of all loaders, in their order.

    Raises:
        InputError: The settings of a loader name something that is not there.
        RunError: A loader failed.
    """
    for part in loaders:
        loader: Loader = part.build()
        documents: Iterator[Loaded | Skipped] | None = None
        while True:
            try:
                documents = iter(loader.load()) if documents is None else documents
                document = next(documents)
            except StopIteration:
                break
            except RagDecodeError:
                raise
            except Exception as error:  # loaders of other packages fail in any way
                raise RunError(
                    f"{type(error).__name__}: {error}",
                    component=f"loader {part.name}",
                    hint="what it has brought so far is kept for the next build",
                ) from error
            yield document
