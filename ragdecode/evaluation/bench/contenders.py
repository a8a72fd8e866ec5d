"""The contenders by name, and what they cannot do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches

from ragdecode.errors import InputError
from ragdecode.evaluation.bench.assisted import AssistedContender
from ragdecode.evaluation.bench.contender import Contender
from ragdecode.evaluation.bench.llama_cpp import LlamaCppContender
from ragdecode.evaluation.bench.own import OwnContender
from ragdecode.evaluation.bench.stock import StockContender
from ragdecode.pipeline.pipeline import Pipeline

OWN, UNDRAFTED, GREEDY = "ragdecode", "ragdecode-nodraft", "hf-greedy"
LOOKUP, ASSISTED, LLAMA_CPP = "hf-prompt-lookup", "hf-assisted", "llama-cpp"
#: Draft length that the documentation of transformers gives for prompt lookup.
LOOKUP_TOKENS = 10

_MAKERS: dict[str, Callable[[Pipeline], Contender]] = {
    OWN: OwnContender,
    UNDRAFTED: lambda pipeline: OwnContender(pipeline.undrafted()),
    GREEDY: StockContender,
    LOOKUP: lambda pipeline: StockContender(pipeline, LOOKUP_TOKENS),
    ASSISTED: AssistedContender,
    LLAMA_CPP: LlamaCppContender,
}
#: All that need nothing but what is installed with the package, besides the pipeline itself.
OTHERS = tuple(name for name in _MAKERS if name not in (OWN, LLAMA_CPP))


def contender_names(text: str) -> tuple[str, ...]:
    """Names from a comma-separated list; the pipeline itself always takes part, first.

    Raises:
        InputError: There is no contender of that name.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in _MAKERS:
            near = get_close_matches(name, _MAKERS, n=1)
            known = f"contenders are {', '.join(_MAKERS)}"
            raise InputError(
                f"unknown contender {name!r}", hint=f"did you mean {near[0]!r}? {known}" if near else known
            )
    return tuple(dict.fromkeys((OWN, *names)))


def make(name: str, pipeline: Pipeline) -> Contender:
    """The contender of a name."""
    return _MAKERS[name](pipeline)


def check_contenders(pipeline: Pipeline, names: Sequence[str]) -> None:
    """Refuse contenders that cannot do what the pipeline does, before any model is loaded.

    Raises:
        InputError: The pipeline stops at strings and another contender takes part, or llama.cpp is not installed.
    """
    strangers = [name for name in names if name not in (OWN, UNDRAFTED)]
    if pipeline.loaded.spec.decode.stop and strangers:
        raise InputError(
            f"the pipeline stops at strings, which {', '.join(strangers)} would not look for",
            hint="--set decode.stop=[]",
        )
    if LLAMA_CPP in names:
        LlamaCppContender.check_installed()
