"""Rules as a transformers ``LogitsProcessor``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import LogitsProcessor, PreTrainedModel

from ragdecode.decoding.active import Active
from ragdecode.decoding.backend import Backend
from ragdecode.decoding.backends.llama import LlamaBackend
from ragdecode.decoding.backends.transformers import TransformersBackend
from ragdecode.decoding.compose import Composed
from ragdecode.decoding.intervention import EarlyExit, HeadMask
from ragdecode.decoding.processors.stepper import Stepper
from ragdecode.decoding.request import TARGET, Request, Sampling, View
from ragdecode.decoding.rule import Rule
from ragdecode.errors import InputError

if TYPE_CHECKING:
    from ragdecode.decoding.intervention import Intervention
    from ragdecode.spec.decode import ViewSpec

#: Longest answer where none is given.
_ROOM = 1024
#: A view of a sequence: its prompt's token ids, or a view with more to say.
Shown = Sequence[int] | View


class RuleLogitsProcessor(LogitsProcessor):
    """A chain of rules in ``model.generate(..., logits_processor=[...])``; scores in, composed log-probabilities out.

    The rules' other views run beside ``generate()`` over the same weights with caches of their own, which are fed the
    new tokens only. The target's logits are those that ``generate()`` computed, unless a rule reads more of the target
    (hidden states, layers, attention, its prompt): then it is run once more here. What is minus infinity in the scores
    stays so. Put it first in the list: penalties of processors before it are lost where the target is run once more.
    An object may be used for one ``generate()`` after another; batches are padded on the left. Beam search is refused.

    Args:
        rules: The chain; a rule that switches models or tests draws is refused.
        model: The model of ``generate()``, or a backend with its weights.
        views: For each sequence of the batch the prompts of its other views, by name; none if no rule reads any.
            ``with_context`` may be given to tell where its passages are; it has to be the sequence's own prompt.
        attention_mask: Mask of the batch ``[B, L]``, as ``generate()`` gets it; without one, nothing is padding.
        max_new_tokens: Longest answer; rows are made for it. Left out, what the window leaves, 1024 at most.
        temperature: The temperature of ``generate()``: rules that go with some only look at it.
        detokenize: Token ids to text, for rules that read text.
        vocab_size: Tokens of the tokenizer, where the model's table of embeddings is padded beyond them: what is beyond
            is impossible then, and counts in no rule, as in the engine.

    Raises:
        InputError: The rules do not go together, or not with this model.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        model: PreTrainedModel | Backend,
        views: Sequence[Mapping[str, Shown]] | None = None,
        *,
        attention_mask: torch.Tensor | None = None,
        max_new_tokens: int | None = None,
        temperature: float = 0.0,
        detokenize: Callable[[Sequence[int]], str] | None = None,
        vocab_size: int | None = None,
    ) -> None:
        for rule in rules:
            if rule.switches or rule.verification:
                what = "decides which model runs" if rule.switches else "tests draws"
                raise InputError(f"'{rule.part_name}' {what}, which only the engine can do", hint="use an Engine")
        self.rules = list(rules)
        self.views = None if views is None else list(views)
        self.attention_mask = attention_mask
        self._sampling = Sampling(temperature=temperature)
        self._longest = max_new_tokens
        self._room = max_new_tokens or _ROOM
        self._detokenize = detokenize
        interventions = [
            view.intervention for own in self.views or () for view in own.values() if isinstance(view, View)
        ]
        interventions += [_inside(spec) for rule in self.rules for spec in rule.declares.values()]
        self._backend = _backend(model, self.rules, interventions)
        self._stepper = Stepper({"main": self._backend}, max_batch=1, vocab_size=vocab_size)
        self._batch: list[Active] = []
        self._before: list[Composed] = []
        self._ids = torch.empty(0, 0, dtype=torch.long)
        self._prompt = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Composed log-probabilities ``[B, V]`` of ``scores [B, V]`` after ``input_ids [B, L]``.

        Raises:
            InputError: The batch is not that of the views, the answer is too long, or beams were reordered.
        """
        if self._continues(input_ids):
            for item, token in zip(self._before, input_ids[:, -1].tolist(), strict=True):
                self._stepper.accept(item, token)
        else:
            self._begin(input_ids)
        if input_ids.shape[1] - self._prompt >= self._room:
            raise InputError(f"the answer is longer than {self._room} tokens", hint="raise max_new_tokens")
        self._ids = input_ids.clone()
        with torch.no_grad():
            self._before = self._stepper.predict(self._batch, list(scores))
        found = torch.full_like(scores, -torch.inf)
        for row, item in enumerate(self._before):
            log_probs = item.log_probs[0].to(scores)
            found[row, : len(log_probs)] = log_probs.masked_fill(scores[row, : len(log_probs)].isneginf(), -torch.inf)
        return found

    def reset(self) -> None:
        """Free the caches; the next call begins anew."""
        for active in self._batch:
            active.close()
        self._batch, self._before = [], []
        self._ids = torch.empty(0, 0, dtype=torch.long)

    def _continues(self, input_ids: torch.Tensor) -> bool:
        """Whether the last call's sequences have one token more."""
        old = self._ids
        if not self._batch or input_ids.shape != (old.shape[0], old.shape[1] + 1):
            return False
        if torch.equal(input_ids[:, :-1], old):
            return True
        if old.shape[1] > self._prompt and torch.equal(input_ids[:, : self._prompt], old[:, : self._prompt]):
            raise InputError("the sequences were reordered: rules do not go with beam search", hint="num_beams=1")
        return False

    def _begin(self, input_ids: torch.Tensor) -> None:
        self.reset()
        count, self._prompt = input_ids.shape
        if self.views is not None and len(self.views) != count:
            raise InputError(
                f"there are views of {len(self.views)} sequences and {count} in the batch",
                hint="give one mapping a sequence; num_beams=1 and num_return_sequences=1",
            )
        mask = self.attention_mask
        if mask is not None and list(mask.shape) != [count, self._prompt]:
            raise InputError(
                f"the attention mask is {list(mask.shape)}, the batch {[count, self._prompt]}",
                hint="set the processor's attention_mask to that of this call",
            )
        if mask is not None and bool((mask.bool()[:, 1:] < mask.bool()[:, :-1]).any()):
            raise InputError(
                "the attention mask hides tokens behind others: batches are padded on the left",
                hint="tokenizer.padding_side = 'left'",
            )
        own = [
            len(view.prompt if isinstance(view, View) else view) for one in self.views or () for view in one.values()
        ]
        left = self._backend.max_positions - max([self._prompt, *own])
        self._room = self._longest or max(1, min(_ROOM, left))
        try:
            for row in range(count):
                ids = input_ids[row].tolist()
                if mask is not None:
                    padding = int((mask[row].long().cumsum(0) == 0).sum())
                    ids = ids[padding:]
                self._batch.append(self._stepper.begin(self._request(row, ids)))
        except BaseException:
            self.reset()
            raise

    def _request(self, row: int, ids: list[int]) -> Request:
        own: Mapping[str, Any] = {} if self.views is None else self.views[row]
        shown = {name: view if isinstance(view, View) else View(list(view)) for name, view in own.items()}
        target = shown.setdefault(TARGET, View(ids))
        for name, spec in [item for rule in self.rules for item in rule.declares.items()]:
            if (inside := _inside(spec)) is not None:
                shown.setdefault(name, View(ids, intervention=inside))
        if list(target.prompt) != ids:
            raise InputError(f"the view {TARGET} of sequence {row} is not the prompt that generate() was given")
        return Request(
            str(row),
            shown,
            rules=self.rules,
            sampling=self._sampling,
            max_new_tokens=self._room,
            detokenize=self._detokenize,
        )


def _inside(spec: ViewSpec) -> Intervention | None:
    """What a view that a rule brings changes inside the model, where it shows what the target shows."""
    inside = spec.intervention
    if inside is None or spec.prompt is not None or spec.passages is not None or spec.model is not None:
        return None
    if inside.exit is not None:
        return EarlyExit(inside.exit)
    assert inside.heads is not None
    heads = inside.heads
    return HeadMask(frozenset((one.layer, one.head) for one in heads.list.heads[: heads.top]), heads.how, heads.prompt)


def _backend(
    model: PreTrainedModel | Backend, rules: Sequence[Rule], interventions: Sequence[Intervention | None]
) -> Backend:
    """A backend over the model's weights; the one that can look inside where a rule does."""
    if not isinstance(model, PreTrainedModel):
        return model
    inside = any(rule.layers or rule.attends or rule.expand or type(rule).meet is not Rule.meet for rule in rules)
    if (inside or any(interventions)) and LlamaBackend.supports(model.config.to_dict()) is None:
        return LlamaBackend(model.config.to_dict(), model.state_dict(), device=model.device, dtype=model.dtype)
    return TransformersBackend(model)
