"""llama.cpp as a contender: the same weights in float32, the same prompt ids and stop tokens, plain rule."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Sequence
from typing import Any

from ragdecode.decoding.request import TARGET
from ragdecode.errors import InputError, RunError
from ragdecode.evaluation.bench.contender import Contender, Run, Turn
from ragdecode.evaluation.bench.llama_gguf import check_shape, float32_gguf
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.pipeline.request import DecodeRequest

#: ``GGML_TYPE_F32``: its cache would be float16 by default.
_FLOAT32 = 0


class LlamaCppContender(Contender):
    """``llama_cpp.Llama.generate``, keys and values in float32 too, as many threads as torch has."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._room = 0
        self._model: Any = None
        self.alone = True
        self.note = "float32 weights, keys and values, on the CPU"

    @staticmethod
    def check_installed() -> None:
        """Refuse to run without llama.cpp.

        Raises:
            InputError: It, or what writes its files, is not installed.
        """
        missing = [name for name in ("llama_cpp", "gguf") if importlib.util.find_spec(name) is None]
        if missing:
            packages = " ".join(name.replace("llama_cpp", "llama-cpp-python") for name in missing)
            raise InputError(
                f"the contender llama-cpp needs {' and '.join(missing)}, not installed here",
                hint=f"pip install {packages}, or leave llama-cpp out of --against",
            )

    def prepare(self, request: DecodeRequest) -> None:
        """See `Contender.prepare`."""
        check_shape(self._pipeline.model.raw_config)
        prepared = self._pipeline.prepare(request).request
        room = len(prepared.views[TARGET].prompt) + prepared.max_new_tokens
        if room > self._room:
            self._room, self._model = room, None

    def turn(self, requests: Sequence[DecodeRequest], max_new_tokens: int | None = None) -> Turn:
        """See `Contender.turn`; nothing is left of the prompt before."""
        (request,) = requests
        asked = self._pipeline.prepare(request).request
        model, prompt = self._opened(), list(asked.views[TARGET].prompt)
        longest = max_new_tokens or asked.max_new_tokens
        sampling = asked.sampling
        model.reset()
        model.set_seed(sampling.seed % 2**32)
        tokens: list[int] = []
        ended = False
        first = 0.0
        started = time.perf_counter()
        for token in model.generate(
            prompt, temp=sampling.temperature, top_k=sampling.top_k, top_p=sampling.top_p, min_p=sampling.min_p
        ):
            first = first or time.perf_counter() - started
            ended = token in asked.end_tokens
            if not ended:
                tokens.append(token)
            if ended or len(tokens) >= longest:
                break
        seconds = time.perf_counter() - started
        committed = len(tokens) + ended
        return Turn.alone(Run(tuple(tokens), committed, committed, first, seconds))

    def _opened(self) -> Any:
        if self._model is None:
            import torch
            from llama_cpp import Llama

            threads = torch.get_num_threads()
            try:
                self._model = Llama(
                    str(float32_gguf(self._pipeline.model)),
                    n_ctx=self._room,
                    n_threads=threads,
                    n_threads_batch=threads,
                    type_k=_FLOAT32,
                    type_v=_FLOAT32,
                    verbose=False,
                )
            except (ValueError, RuntimeError) as error:
                raise RunError(f"llama.cpp cannot open the model: {error}") from error
        return self._model
