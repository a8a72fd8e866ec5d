"""The language models of a pipeline, opened when they are first needed, and the engine over them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from ragdecode.errors import InputError
from ragdecode.models.progress import Progress, silent
from ragdecode.pipeline.governing import measure_steps, open_governor
from ragdecode.pipeline.memory import memory_errors
from ragdecode.pipeline.shared_engine import SharedEngine
from ragdecode.pipeline.views import MAIN, ViewPlans
from ragdecode.spec.decode import DecodeSpec
from ragdecode.spec.pipeline import EngineSpec

if TYPE_CHECKING:
    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.speculation.governor import Governor
    from ragdecode.decoding.vocabulary.vocabulary import Vocabulary
    from ragdecode.models.causal import CausalModel
    from ragdecode.models.tokenizer import Tokenizer


class PipelineModels:
    """Causal models by backend key, their backends, and one engine that threads share.

    Args:
        plans: The views, which say what models there are.
        engine: How they run on this machine.
        decode: What is drafted, and under which governor; nothing if left out.
        fetch: Fetch weights that are not on this machine.
        progress: Told what is done, if something is fetched.
        refusal: Makes of a view's name and what is wrong with its model the error that says where YAML asks for it.

    Attributes:
        seconds: Time spent on loading so far.
    """

    def __init__(
        self,
        plans: ViewPlans,
        engine: EngineSpec,
        decode: DecodeSpec | None = None,
        *,
        fetch: bool = False,
        progress: Progress = silent,
        refusal: Callable[[str, InputError], InputError] | None = None,
    ) -> None:
        self.seconds = 0.0
        self._refusal = refusal
        self._decode = decode
        self._plans = plans
        self._spec = engine
        self._fetch = fetch
        self._progress = progress
        self._lock = threading.RLock()
        self._depth = 0

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Counts as time spent on loading; one thread at a time."""
        with self._lock:
            self._depth += 1
            started = time.perf_counter()
            try:
                with memory_errors("loading"):
                    yield
            finally:
                self._depth -= 1
                if not self._depth:
                    self.seconds += time.perf_counter() - started

    @property
    def main(self) -> CausalModel:
        """The pipeline's own model: configuration and tokenizer, without its weights."""
        return self.causal[MAIN]

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the pipeline's model, which all views share but the foreign ones."""
        return self.main.tokenizer

    @property
    def causal(self) -> dict[str, CausalModel]:
        """All models by backend key, opened without their weights.

        Raises:
            InputError: Weights are not there, or a view's model has another vocabulary.
            RunError: Weights are damaged, or fetching failed.
        """
        return cast("dict[str, CausalModel]", self._opened("_causal"))

    @property
    def backends(self) -> dict[str, Backend]:
        """The models with their weights, ready to run.

        Raises:
            InputError: The chosen backend cannot run a model.
            RunError: There is not enough memory.
        """
        return cast("dict[str, Backend]", self._opened("_backends"))

    @property
    def engine(self) -> SharedEngine:
        """The engine over all models."""
        return cast("SharedEngine", self._opened("_engine"))

    @property
    def windows(self) -> dict[str, int]:
        """Longest row of each backend key, in tokens."""
        return {
            key: min(self.causal[key].max_positions, backend.max_positions) for key, backend in self.backends.items()
        }

    @property
    def vocab_size(self) -> int:
        """Tokens that every model knows (V without padding rows), the foreign ones left out."""
        return min(model.vocab_size for key, model in self.causal.items() if key not in self.foreign)

    @property
    def foreign(self) -> dict[str, CausalModel]:
        """Models by key that have another vocabulary than the pipeline's model; they only draft."""
        own = self.tokenizer.fingerprint
        return {key: model for key, model in self.causal.items() if model.tokenizer.fingerprint != own}

    @property
    def vocabularies(self) -> dict[str, Vocabulary]:
        """Vocabularies by key, as bytes, if any model is foreign; else none.

        Raises:
            InputError: A tokenizer is of a kind that cannot be compared.
        """
        return cast("dict[str, Vocabulary]", self._opened("_vocabularies"))

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of the pipeline's model, as bytes.

        Raises:
            InputError: Its tokenizer is of a kind whose tokens cannot be told as bytes.
        """
        return cast("Vocabulary", self._opened("_vocabulary"))

    def _opened(self, name: str) -> Any:
        """A cached property; only its first reading counts as loading."""
        if name in self.__dict__:
            return self.__dict__[name]
        with self.loading():
            return getattr(self, name)

    def close(self) -> None:
        """Let go of weights and caches."""
        with self._lock:
            for name in ("_engine", "_backends", "_vocabularies", "_vocabulary", "_causal"):
                self.__dict__.pop(name, None)

    @cached_property
    def _causal(self) -> dict[str, CausalModel]:
        from ragdecode.models.causal import load_causal

        opened = {
            key: load_causal(
                spec,
                device=self._spec.device,
                dtype=self._spec.dtype,
                fetch=self._fetch,
                progress=self._progress,
            )
            for key, spec in self._plans.models.items()
        }
        own = opened[MAIN].tokenizer.fingerprint
        for view in self._plans.views:
            if opened[view.model].tokenizer.fingerprint != own and not view.translates:
                hint = "take a model of the same family, with the same tokenizer"
                if view.follows and view.role == "draft":
                    hint += f"; or let the drafter {view.name} match by strings or by intersection (match: auto)"
                message = f"the model of the view {view.name!r} has another vocabulary than the pipeline's model: "
                error = InputError(f"{message}their tokens cannot be compared", hint=hint)
                raise error if self._refusal is None else self._refusal(view.name, error)
        return opened

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        from ragdecode.decoding.vocabulary.vocabulary import Vocabulary

        return Vocabulary(self.tokenizer.codec, self.vocab_size)

    @cached_property
    def _vocabularies(self) -> dict[str, Vocabulary]:
        from ragdecode.decoding.vocabulary.vocabulary import Vocabulary

        foreign = self.foreign
        if not foreign:
            return {}
        others = {key: Vocabulary(model.tokenizer.codec, model.vocab_size) for key, model in foreign.items()}
        return {MAIN: self.vocabulary, **others}

    @cached_property
    def _backends(self) -> dict[str, Backend]:
        draft = self._decode.draft if self._decode else ()
        light = any(getattr(part.build(), "light", False) for part in draft)
        return {
            key: open_backend(model, self._spec, light=light and key == MAIN) for key, model in self._causal.items()
        }

    @cached_property
    def _engine(self) -> SharedEngine:
        from ragdecode.decoding.engine import Engine

        engine = Engine(
            self._backends,
            governor=self._governor(),
            max_batch=self._spec.max_batch,
            prefill_tokens=self._spec.prefill_tokens,
            vocab_size=self.vocab_size,
            foreign=self.foreign,
            prefix_bytes=self._spec.prefix_cache_mb << 20,
        )
        return SharedEngine(engine, self._spec.max_batch)

    def _governor(self) -> Governor | None:
        """What decides how much is drafted; None where nothing is, or always the same."""
        decode = self._decode
        if decode is None or not decode.draft or decode.governor == "off" or decode.max_draft_nodes < 2:
            return None
        verified = [view.model for view in self._plans.views if view.role != "draft"]
        nodes = decode.max_draft_nodes * len(verified)
        keys = list(dict.fromkeys(verified))
        costs = measure_steps(keys, self._backends, self._causal, self._spec, nodes, self._progress)
        return open_governor(decode, costs)


def open_backend(model: CausalModel, spec: EngineSpec, *, light: bool = False) -> Backend:
    """The backend of a model: our own forward where it can run it, else the general adapter.

    Args:
        model: The model.
        spec: How it is to run.
        light: Keep a second copy of its weights in 4 bits, where that works.

    Raises:
        InputError: ``engine`` asks for something that this model cannot have.
        RunError: There is not enough memory.
    """
    from ragdecode.decoding.backends.int4 import int4_fails
    from ragdecode.decoding.backends.llama import LlamaBackend

    reason = LlamaBackend.supports(model.raw_config)
    if spec.backend == "llama" or (spec.backend == "auto" and reason is None):
        return LlamaBackend(
            model.raw_config,
            model.state_dict(),
            device=model.device,
            dtype=model.dtype,
            linear=spec.linear,
            light=light and int4_fails(model.device) is None,
            fingerprint=model.heads_fingerprint,
        )
    if spec.linear in ("packed", "int4"):
        why = f"the llama backend cannot run this model: {reason}" if reason else "engine.backend is transformers"
        raise InputError(f"engine.linear: {spec.linear} needs the llama backend, and {why}", hint="linear: auto")
    from ragdecode.decoding.backends.transformers import TransformersBackend

    return TransformersBackend(model.hf_model())
