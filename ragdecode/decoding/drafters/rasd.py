"""RASD: a retrieved tree, pruned by a draft model's distribution and fused with the draft model's own tree."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from ragdecode.decoding.drafter import Draft, Drafter, DraftSession, Look, Verified
from ragdecode.decoding.speculation.growing import GrowingDrafter, GrowingSession
from ragdecode.decoding.speculation.joining import best_of, joined, merged, part_of
from ragdecode.decoding.speculation.pruning import pruned
from ragdecode.errors import InputError
from ragdecode.spec.part import Drafter as DrafterPart
from ragdecode.spec.part import Drafters, Part
from ragdecode.spec.registry import register
from ragdecode.spec.settings import Settings

if TYPE_CHECKING:
    import torch

    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.request import Request


class RasdSettings(Settings):
    """Settings of the fusion of retrieved and generated drafts."""

    retrieve: Annotated[Drafters, Field(min_length=1)]
    """Drafters that look for continuations: ``prompt_lookup``, ``datastore``, or others that need no model."""
    generate: DrafterPart
    """The drafter with a distribution: ``view``, ``draft_model`` or ``self``, with its settings."""
    top_k: int = Field(default=10, ge=1)
    """Retrieved first tokens that are not among so many of the generator's best are dropped, with what follows."""
    floor: float = Field(default=0.01, ge=0.0, le=1.0)
    """Retrieved paths that the generator finds less probable than this are dropped."""
    long_match: int = Field(default=5, ge=1)
    """Continuations of a match of so many tokens are not pruned: they are more reliable than a small model."""
    retrieved: int = Field(default=16, ge=1, le=512)
    """Most retrieved nodes."""
    drafted: int = Field(default=24, ge=1, le=512)
    """Most generated nodes."""
    extend: bool = False
    """Show the generator what was retrieved before it drafts: it judges every node and goes on from the leaves. Its
    first look then holds up to ``retrieved`` tokens more."""

    @field_validator("retrieve")
    @classmethod
    def _once(cls, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        names = [part.name for part in parts]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the drafter '{name}' stands twice; remove one")
            if name == "auto":
                raise ValueError("'auto' stands for others in a pipeline's list only; name them: prompt_lookup, ...")
        return parts


@register("drafter", "rasd", RasdSettings)
class Rasd(Drafter):
    """Retrieved continuations, pruned by a draft model and fused with its tree, verified as one.

    A RECONSTRUCTION of RASD (Quan et al., arXiv 2503.03434), whose text was not to be had beyond its abstract and a
    figure's caption: that the retrieved tree is pruned by the draft model's distribution and the trees are fused by
    longest prefix is the paper's; the tests that prune, the exemption of long matches and all sizes are not.
    Retrieval is that of REST (arXiv 2311.08252), the draft model's tree that of EAGLE-2 and OPT-Tree. Costs the
    generator's passes; changes speed only.
    """

    def __init__(self, settings: RasdSettings) -> None:
        super().__init__(settings)
        self.generator: Drafter = settings.generate.build()
        if not isinstance(self.generator, GrowingDrafter):
            raise InputError(
                f"'{settings.generate.name}' has no distribution to prune by",
                hint="generate with 'view', 'draft_model' or 'self', and put this one under 'retrieve'",
            )
        self.retrievers: list[Drafter] = [part.build() for part in settings.retrieve]
        inner = [*self.retrievers, self.generator]
        self.views = _union(part.views for part in inner)
        self.resources = _union(part.resources for part in inner)
        self.translates = _union(part.translates for part in inner)
        self.declares: Mapping[str, Any] = {name: view for part in inner for name, view in part.declares.items()}
        self.skips_layers = any(part.skips_layers for part in inner)
        self.light = any(part.light for part in inner)
        self.looks = sum(part.looks for part in inner)
        self._vocab_size: int | None = None  # known once the models are met
        self._reserve()

    def meet(self, models: Mapping[str, Backend]) -> None:
        """The inner drafters meet the models.

        Raises:
            InputError: One of them cannot draft from these models.
        """
        from ragdecode.decoding.request import TARGET

        for part in (*self.retrievers, self.generator):
            part.meet(models)
        self._reserve()
        alike = [TARGET, *(name for name in self.generator.views if name not in self.generator.translates)]
        self._vocab_size = min(models[name].vocab_size for name in alike if name in models)

    def looks_at(self, request: Request) -> Sequence[str]:
        """The views of all inner drafters."""
        return _union(part.looks_at(request) for part in (*self.retrievers, self.generator))

    def start(self, request: Request) -> DraftSession:
        """Begin all inner drafters."""
        assert isinstance(self.generator, GrowingDrafter)
        retrievers = [(part.part_name, part.start(request)) for part in self.retrievers]
        generator = self.generator.start(request)
        return _Session(self.settings, retrievers, self.generator.part_name, generator, self._vocab_size)

    def _reserve(self) -> None:
        """Room for the largest look of any of them."""
        seen = self.settings.retrieved if self.settings.extend else 0
        self.look_nodes = max(self.generator.look_nodes + seen, *(part.look_nodes for part in self.retrievers))


class _Session(DraftSession):
    """The sessions of the inner drafters."""

    def __init__(
        self,
        settings: RasdSettings,
        retrievers: Sequence[tuple[str, DraftSession]],
        name: str,
        generator: GrowingSession,
        vocab_size: int | None,
    ) -> None:
        self._settings = settings
        self._retrievers = retrievers
        self._name = name
        self._generator = generator
        self._vocab_size = vocab_size

    def propose(self, nodes: int) -> Generator[Look, torch.Tensor, Draft]:
        """Retrieve, generate, prune what was retrieved; both trees in one draft, equal paths to be merged."""
        settings = self._settings
        found: list[tuple[str, Draft]] = []
        for name, session in self._retrievers:
            proposal = session.propose(settings.retrieved)
            draft = proposal if isinstance(proposal, Draft) else (yield from proposal)
            found.append((name, draft))
        base = merged(found, settings.retrieved, self._vocab_size) if settings.extend else None
        own = yield from self._generator.grow(min(nodes, settings.drafted), base)
        # what it was shown and finds impossible, or cannot judge, is not its draft
        own = part_of(own, [index for index, score in enumerate(own.scores) if score > 0])
        kept = [(name, self._prune(draft)) for name, draft in found]
        return joined([*best_of(kept, settings.retrieved), (self._name, own)])

    def _prune(self, draft: Draft) -> Draft:
        settings, told = self._settings, self._generator.judge(draft)
        return pruned(draft, told, top_k=settings.top_k, floor=settings.floor, long_match=settings.long_match)

    def observe(self, verified: Verified) -> None:
        """All of them learn what was accepted."""
        for session in self._all():
            session.observe(verified)

    def rewind(self, length: int) -> None:
        """All of them forget."""
        for session in self._all():
            session.rewind(length)

    def retrieved(self, prompts: Mapping[str, Sequence[int]]) -> None:
        """All of them see the new evidence."""
        for session in self._all():
            session.retrieved(prompts)

    def _all(self) -> list[DraftSession]:
        return [*(session for _, session in self._retrievers), self._generator]


def _union(names: Any) -> tuple[str, ...]:
    """All names, each once, in order of first use."""
    return tuple(dict.fromkeys(name for some in names for name in some))
