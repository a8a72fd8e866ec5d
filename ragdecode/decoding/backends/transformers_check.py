"""Start-up check of a transformers model: draft trees in slots must predict what the stock model predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from ragdecode.decoding.backend import Segment
from ragdecode.decoding.backends.transformers_plan import MaskPlan, narrow_window, plan_masks, refusal
from ragdecode.errors import RunError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ragdecode.decoding.backends.transformers import TransformersBackend

#: Classes of transformers that the tests prove exact in float64, by their exact names; others are checked at start.
PROVED = frozenset(
    {
        "FalconForCausalLM",
        "GPT2LMHeadModel",
        "GPTNeoXForCausalLM",
        "Gemma2ForCausalLM",
        "Gemma3ForCausalLM",
        "GemmaForCausalLM",
        "LlamaForCausalLM",
        "MistralForCausalLM",
        "MixtralForCausalLM",
        "OPTForCausalLM",
        "Phi3ForCausalLM",
        "PhiForCausalLM",
        "Qwen2ForCausalLM",
        "Qwen2MoeForCausalLM",
        "Qwen3ForCausalLM",
        "Qwen3MoeForCausalLM",
    }
)

#: Largest error allowed: root mean square over the vocabulary, the worst token's, in standard deviations of the
#: logits. A model that ignores positions or masks is off by tenths; half precision on a deep model by hundredths.
_TOLERANCE = {torch.float64: 1e-7, torch.float32: 2e-3, torch.float16: 0.03, torch.bfloat16: 0.12}

#: Window given to a sliding-window model for the check, shorter than the check's rows.
_CHECK_WINDOW = 3

#: The tree of the check: siblings, a branch below a sibling, a node far from its parent.
_PARENTS = [-1, 0, 0, 1, 0, 2, 1]
_DEPTHS = [0, 1, 1, 2, 1, 2, 2]


def is_proved(model: PreTrainedModel) -> bool:
    """Whether the tests cover this class of model with settings that keep it standard."""
    kind = type(model)
    own = kind.__module__.partition(".")[0] == "transformers"
    return own and kind.__name__ in PROVED and not getattr(model.config, "alibi", False)


def settle_plan(backend: TransformersBackend) -> MaskPlan:
    """The mask plan under which the backend agrees with its stock model.

    The plan that the configuration suggests is tried first, with a window small enough to matter; then a plain
    mask for rows that no window cuts.

    Raises:
        InputError: The model is not exact under any of them.
    """
    model = backend.model
    plan = plan_masks(model)
    if is_proved(model):
        return plan
    reason: str | None
    if plan.window is None:
        reason = _disagreement(backend, plan)
        if reason is None:
            return plan
    else:
        with narrow_window(model, _CHECK_WINDOW):
            reason = _disagreement(backend, plan.with_window(_CHECK_WINDOW))
        if reason is None and _disagreement(backend, plan) is None:
            return plan
        reason = _disagreement(backend, plan.within_window())
        if reason is None:
            return plan.within_window()
    raise refusal(model, f"a check of draft trees against the stock model failed: {reason}")


def exits_fail(backend: TransformersBackend, row: int) -> str | None:
    """Why early exits are not to be trusted: the last block's state, projected, must be what the model predicts.

    Args:
        backend: The backend, which knows its blocks.
        row: An open row of 8 slots.
    """
    tokens, last = _tokens(backend)[:6], backend.blocks - 1
    output = backend.forward([Segment(row, 0, tokens, range(6), None, range(6))], states={0, last})
    if set(output.states) != {0, last}:
        return "its blocks tell no states"
    tolerance = _TOLERANCE.get(backend.dtype, 0.03)
    columns = torch.tensor([tokens] * 6, device=backend.device)
    whole, some = backend.project(output.states[last]), backend.project(output.states[last], columns)
    for got, wanted in ((whole, output.logits), (some, output.logits.gather(1, columns))):
        if (off := _distance(got, wanted)) > tolerance:
            return f"projected logits are off by {off:.2g} of their standard deviation"
    return None


def _disagreement(backend: TransformersBackend, plan: MaskPlan) -> str | None:
    """Decode two rows of different lengths with trees, commit and go on; None if all logits are the stock model's."""
    if plan.limit < 16:
        return f"rows would be limited to {plan.limit} tokens"
    token = _tokens(backend)
    prompts = [token[:4], token[4:12]]
    tree = token[12:19]
    rows: list[int] = []
    worst = 0.0
    try:
        with backend.planned(plan):
            rows = [backend.open_row(24) for _ in prompts]
            got = backend.forward(
                [
                    Segment(row, 0, prompt, range(len(prompt)), None, range(len(prompt)))
                    for row, prompt in zip(rows, prompts, strict=True)
                ]
            ).logits
            stock = [_stock_tree(backend.model, prompt, tree) for prompt in prompts]
            worst = max(worst, _distance(got, torch.cat([before for before, _ in stock])))
            got = backend.forward(
                [
                    Segment(row, len(prompt), tree, _DEPTHS, _PARENTS, range(len(tree)))
                    for row, prompt in zip(rows, prompts, strict=True)
                ]
            ).logits
            worst = max(worst, _distance(got, torch.cat([nodes for _, nodes in stock])))
            accepted = [0, 2, 5]
            backend.keep(rows[0], len(prompts[0]), accepted)
            kept = prompts[0] + [tree[node] for node in accepted]
            got = backend.forward([Segment(rows[0], len(kept), token[19:21], [0, 1], None, [1])]).logits
            worst = max(worst, _distance(got, _stock(backend.model, kept + token[19:21])[-1:]))
    except RunError:
        raise
    except Exception as error:  # whatever somebody's model raises is the reason to turn it away
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    finally:
        for row in rows:
            backend.close_row(row)
    tolerance = _TOLERANCE.get(backend.dtype, 0.03)
    return None if worst <= tolerance else f"logits are off by {worst:.2g} of their standard deviation"


def _tokens(backend: TransformersBackend) -> list[int]:
    """Some random token ids, the same each time."""
    generator = torch.Generator().manual_seed(20)
    embedding = cast("torch.nn.Embedding", backend.model.get_input_embeddings())
    size = embedding.weight.shape[0]
    return [int(token) for token in torch.randint(0, size, (21,), generator=generator)]


def _path(node: int) -> list[int]:
    """Nodes from the root of the check's tree to a node."""
    path: list[int] = []
    while node >= 0:
        path.append(node)
        node = _PARENTS[node]
    return path[::-1]


def _stock_tree(model: PreTrainedModel, prompt: list[int], tree: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stock logits of a prompt ``[S, V]`` and of each node below it ``[N, V]``, one pass a leaf."""
    leaves = [node for node in range(len(tree)) if node not in _PARENTS]
    nodes: dict[int, torch.Tensor] = {}
    for leaf in leaves:
        logits = _stock(model, prompt + [tree[node] for node in _path(leaf)])
        nodes.update(zip(_path(leaf), logits[len(prompt) :], strict=True))
    return logits[: len(prompt)], torch.stack([nodes[node] for node in range(len(tree))])


def _stock(model: PreTrainedModel, tokens: list[int]) -> torch.Tensor:
    """Logits ``[L, V]`` of the stock model over a whole row, without a cache."""
    with torch.no_grad():
        ids = torch.tensor([tokens], device=model.device)
        logits: torch.Tensor = model(input_ids=ids, use_cache=False, return_dict=True).logits
    return logits[0]


def _distance(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """The worst row's root mean square error ``[M, V]``, in standard deviations; infinite if not a number."""
    if got.shape != wanted.shape:
        return float("inf")
    error = (got.double() - wanted.double()).square().mean(-1).sqrt().max() / wanted.double().std()
    return float(error.nan_to_num(nan=float("inf")))
