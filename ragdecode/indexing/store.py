"""The contract of stores: what an index can be searched by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ragdecode.indexing.memory.key_model import KeyModel
    from ragdecode.indexing.passages import PassageTable
    from ragdecode.spec.model import ModelSpec


class Encoder(Protocol):
    """Texts to vectors."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same text would get another vector."""
        ...

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        ...

    def encode(self, texts: Sequence[str], *, role: Literal["query", "document"] = "document") -> NDArray[np.float32]:
        """Vectors ``[len(texts), dimension]``."""
        ...


class CorpusTokenizer(Protocol):
    """Texts to token ids."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same text would get other ids."""
        ...

    @property
    def vocab_size(self) -> int:
        """Above all ids."""
        ...

    def encode(self, text: str, special: bool) -> list[int]:
        """Ids of a text; control tokens written in it become theirs if ``special``, else they are plain text."""
        ...


#: gives the loaded encoder of a model
Encoders = Callable[["ModelSpec"], Encoder]
#: embeds batches of documents with a model, in order
Encode = Callable[["ModelSpec", Iterable[Sequence[str]]], Iterator["NDArray[np.float32]"]]
#: what a store compares: stages that need one kind are refused over a store of the other when a pipeline is loaded
RanksBy = Literal["words", "vectors"]
#: called with (stage, done, total)
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Probe:
    """What a store is searched with. A store takes what it can use, and the text for the rest.

    Attributes:
        text: The question.
        words: Weight of each word, for stores that rank by words; in the form of the words of the store
            (`Words.words`), so that they are compared as they are. The words of ``text`` if left out.
        likenesses: Texts that look like what is sought (`HyDE <https://arxiv.org/abs/2212.10496>`_), for stores
            that rank by vectors: the query's vector is the mean of its own and of theirs.
    """

    text: str
    words: Mapping[str, float] | None = None
    likenesses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Need:
    """What a store will take.

    Attributes:
        disk: Bytes on disk when it is built.
        memory: Bytes of memory while it is built, beside the models.
        encoded: Texts that a model must encode.
        read: Tokens that the language model must read.
    """

    disk: int
    memory: int
    encoded: int = 0
    read: int = 0


@dataclass(frozen=True)
class Previous:
    """What an earlier build of the same store left, for what can be taken over.

    Attributes:
        folder: Its data files, complete and undamaged.
        facts: What it put into the manifest.
    """

    folder: Path
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class BuildContext:
    """What a store may use while it is built.

    Attributes:
        encoders: Gives sentence encoders.
        progress: To be called now and then.
        previous: The same store of the index that is replaced, whatever its settings were.
        identity: Name of this store of this index, the same at every build: 16 hexadecimal digits.
        standing: Facts of the store of this name in the index that answers until this one takes its place, whatever
            its settings; None if there is none. What these facts speak of must stay as it is.
        encode: Embeds batches of texts with a model, one array ``[len(batch), dimension]`` a batch, in order: here or
            on workers. In this process with ``encoders`` if left out.
        salvage: Folders of this store from interrupted builds over another set of passages; for what can be taken
            over, after a look at how far they had come.
        resumed: To be told how many texts need not be embedded because an interrupted build had done so.
        tokenizer: Gives the one that counts; None where the build was given none.
        key_model: Gives the language model whose tokens are counted; None where the build was given none.
    """

    encoders: Encoders
    progress: Progress
    previous: Previous | None = None
    identity: str = ""
    standing: Mapping[str, Any] | None = None
    encode: Encode | None = None
    salvage: tuple[Path, ...] = ()
    resumed: Callable[[int], None] = lambda texts: None
    tokenizer: Callable[[], CorpusTokenizer] | None = None
    key_model: Callable[[], KeyModel] | None = None


@dataclass(frozen=True)
class Built:
    """What a store has to say after its build.

    Attributes:
        facts: For the manifest (JSON): what `Store.open` must know, fingerprints.
        summary: What was done, for people: ``embedded 57 passages``.
    """

    facts: dict[str, Any]
    summary: str


class Searcher(Protocol):
    """An open store."""

    def search(self, probes: Sequence[Probe], k: int) -> list[list[tuple[int, float]]]:
        """The best k rows of the passage table for each probe, best first, as ``(row, score)``.

        Rows whose score equals that of the k-th are all included: the index breaks ties by passage id.
        """
        ...


@runtime_checkable
class Words(Protocol):
    """A searcher that ranks by words, for stages that weigh them (RM3)."""

    def words(self, text: str) -> list[str]:
        """The words of a text in the form in which they are compared."""
        ...

    def idf(self, words: Sequence[str]) -> list[float]:
        """How rare each word is in the index; 0 for words that it does not have."""
        ...


@runtime_checkable
class Vectors(Protocol):
    """A searcher that ranks by vectors, for stages that compare passages with one another (MMR)."""

    def vectors(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """Vectors of rows, of length 1 ``[len(rows), dimension]``."""
        ...

    def encode(self, texts: Sequence[str], role: Literal["query", "document"]) -> NDArray[np.float32]:
        """Vectors of texts, of length 1 ``[len(texts), dimension]``."""
        ...


@runtime_checkable
class Elsewhere(Protocol):
    """A store that keeps data outside its folder: in a database, on another machine.

    The fact ``elsewhere`` tells where; it is no part of the index's content.
    """

    def discard(self, facts: Mapping[str, Any]) -> None:
        """Remove what a build that left these facts has put there; called when another index has taken its place."""
        ...


@runtime_checkable
class ReadByModel(Protocol):
    """A store that the language model whose tokens are counted makes from the corpus."""

    def need_of(self, passages: int, characters: int, model: KeyModel) -> Need:
        """As `Store.need`, and told in its place."""
        ...

    def made_by(self, facts: Mapping[str, Any], model: KeyModel) -> bool:
        """Whether a build now would use the model that left these facts."""
        ...


class Store(Protocol):
    """A part of kind ``store``, built as ``cls(settings)``; it may be `Elsewhere` or `ReadByModel` too.

    The class may say what it `RanksBy` in an attribute ``ranks_by``. One that finds no passages, but serves another
    purpose, says ``finds_passages = False``: no retriever may search it, and what it opens is no `Searcher`. One with
    a journal of its own names the files that an interrupted build goes on with in ``resumes``.
    """

    def need(self, passages: int, characters: int, encoders: Encoders) -> Need:
        """What a build over so many passages with so much text will take; loads no weights."""
        ...

    def build(self, passages: PassageTable, folder: Path, context: BuildContext) -> Built:
        """Write the data files into ``folder``; file names of letters, digits, ``._-`` only.

        The folder is empty but for what `embed` has left there in a build that was interrupted.
        """
        ...

    def current(self, facts: Mapping[str, Any], encoders: Encoders) -> bool:
        """Whether a build now would use the same models as the one that left these facts.

        A store that is `Elsewhere` may also look, if that is cheap, whether what it speaks of is still there.
        """
        ...

    def open(self, folder: Path, facts: Mapping[str, Any], encoders: Encoders) -> Searcher:
        """Open the data files, memory-mapped where they are large."""
        ...
