"""Any causal language model of transformers with a standard key-value cache, rows and draft trees included."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import torch

from ragdecode.decoding.backend import Output, Segment
from ragdecode.decoding.backends.transformers_batch import batch_of
from ragdecode.decoding.backends.transformers_cache import Arena, out_of_memory
from ragdecode.decoding.backends.transformers_check import exits_fail, settle_plan
from ragdecode.decoding.backends.transformers_exit import Tail
from ragdecode.decoding.backends.transformers_plan import MaskPlan, plan_masks, refusal, refuse_unfit
from ragdecode.decoding.backends.transformers_taps import BlockTaps
from ragdecode.errors import InputError, RunError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TransformersBackend:
    """Runs the stock forward of a model over padded rows with explicit positions and 4-D masks.

    It is the general backend, exact for every model it accepts, not the fastest. What it costs beside the
    model's own work:

    - Rows of one pass are padded to the longest segment and to the longest row, so a long prompt chunk beside
      decoding rows makes these pay for its length. It stays one pass.
    - Rows that are neighbours are attended where they lie; a pass over scattered rows first copies the keys and
      values that it sees (about a fifth of a small model's pass at 1,000 tokens on a CPU). Rows are handed out
      lowest first, to keep neighbours together.
    - Every row of the cache is as long as the longest that was ever opened.

    A failed pass leaves what rows held before it as it was: it writes only at and after each segment's base.
    Not for use from several threads at once, nor beside one that runs the same model.

    Attributes:
        model: The stock model, in evaluation mode.
        vocab_size: Columns of the logits (V), padded embedding rows included.
        hidden_size: Size of what the language model head reads (H).
        max_positions: Longest row.
        device: Where tensors live.
        dtype: Dtype of the weights and of the cache.
        layers: 0: no parts of a model can be left out here.
        grafts: False: no segment may hang below drafted tokens of an earlier pass.
        light: False: there are no lighter weights.
        fingerprint: Empty: its heads cannot be named.
        interventions: ``exit`` where the last block's state, projected, was what the model predicts at the start;
            else none. Heads of a stock model are neither switched off nor watched.
        lacks: Why an intervention is not there, for messages.
        taps: Those of the last block that its modules show, and their width; in a model whose feed-forward part runs
            beside attention, ``ffn_input`` has not seen the last attention.
        blocks: Number of blocks.
        heads: Number of query heads of a block.
    """

    fingerprint = ""
    layers = 0
    grafts = False
    light = False

    def __init__(self, model: PreTrainedModel) -> None:
        """Take a model and, unless its class is proved by our tests, check it against itself.

        Raises:
            InputError: The model cannot be run exactly: recurrent state, encoder, no 4-D masks, ALiBi positions.
        """
        refuse_unfit(model)
        self.model = model
        self.model.train(False)
        self.device = torch.device(model.device)
        self.dtype: torch.dtype = model.dtype
        self._arena = Arena()
        known = inspect.signature(model.forward).parameters
        # Its load-balancing loss would read our mask as a padding mask.
        self._options: dict[str, Any] = {"output_router_logits": False} if "output_router_logits" in known else {}
        self._taps = BlockTaps(model)
        self._tail: Tail | None = None
        self._plan = plan_masks(model)
        self._plan = settle_plan(self)
        self.vocab_size, self.hidden_size = self._sizes()
        self.taps: Mapping[str, int] = {"final": self.hidden_size, **self._tap_widths()}
        text = model.config.get_text_config()
        self.blocks, self.heads = int(text.num_hidden_layers), int(text.num_attention_heads)
        self.max_positions = self._plan.limit
        self.interventions: frozenset[str] = frozenset()
        self.lacks = {"heads": "the transformers backend leaves the inside of a model as it is"}
        self._find_exits()

    def open_row(self, capacity: int) -> int:
        """Reserve a row of ``capacity`` slots and return its number.

        Raises:
            RunError: There is no memory for it.
        """
        return self._arena.open(capacity)

    def close_row(self, row: int) -> None:
        """Free a row."""
        self._arena.close(row)

    def keep(self, row: int, base: int, offsets: Sequence[int]) -> None:
        """Move the cache entries at ``base + offsets[k]`` to ``base + k``, in place; offsets ascend."""
        self._arena.move(row, base, offsets)

    @property
    def token_bytes(self) -> int:
        """Bytes that the keys and values of one token take."""
        return self._arena.token_bytes

    def save_prefix(self, row: int, length: int) -> list[torch.Tensor]:
        """The first ``length`` entries of a row, keys and values of each layer ``[heads, length, D]``, copied."""
        return self._arena.save(row, length)

    def load_prefix(self, row: int, saved: list[torch.Tensor], length: int) -> None:
        """Put the first ``length`` entries of a saved prefix at the beginning of a row."""
        self._arena.load(row, saved, length)

    def forward(
        self,
        segments: Sequence[Segment],
        *,
        hidden: bool = False,
        skip: frozenset[int] = frozenset(),
        light: bool = False,
        states: Collection[int] = (),
        taps: Collection[str] = (),
        logits: bool = True,
    ) -> Output:
        """Run the model once over the new tokens of all segments (at most one segment a row).

        Hidden states are what the language model head reads: those after the final norm.

        Raises:
            InputError: A row would become longer than the model can take.
            RunError: Memory ran out.
            ValueError: A segment does not fit its row, two share one, parts are to be left out, or states are wanted
                where `interventions` have no ``exit``.
        """
        if skip or light or (states and self._tail is None):
            raise ValueError("the transformers backend has no parts to leave out, no lighter weights or no states")
        self._refuse_misfits(segments)
        batch = batch_of(segments, self._arena.placement.capacity, self.device)
        self._arena.place(batch.rows, batch.block, batch.slots, batch.used)
        try:
            with (
                torch.no_grad(),
                _head_reads(self.model, batch.outputs, logits) as read,
                self._taps.listening(taps, batch.outputs, batch.ids.numel()) as told,
                self._early(states, batch.outputs) as early,
            ):
                table: torch.Tensor = self.model(
                    input_ids=batch.ids,
                    attention_mask=self._plan.masks(batch, self.dtype),
                    position_ids=batch.positions,
                    past_key_values=self._arena.cache,
                    use_cache=True,
                    return_dict=True,
                    **self._options,
                ).logits
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise RunError(
                f"no memory for a pass over {len(segments)} rows of {batch.ids.shape[1]} new tokens",
                hint="run fewer requests at once, or shorten the prompts",
                component="transformers backend",
            ) from error
        if len(read) != 1 or table.shape[:2] != (1, len(batch.outputs) if logits else 0):
            raise refusal(self.model, "its logits are not a plain function of its head's input")
        if "final" in taps:
            told["final"] = read[0][0]
        return Output(table[0], read[0][0] if hidden else None, early, taps=told)

    def project(
        self, states: torch.Tensor, columns: torch.Tensor | None = None, *, normed: bool = True
    ) -> torch.Tensor:
        """Logits ``[N, V]`` of states ``[N, H]`` after a block, or ``[N, C]`` of columns; see `Backend.project`.

        Raises:
            ValueError: `interventions` have no ``exit``.
        """
        if self._tail is None:
            raise ValueError(f"no states can be projected: {self.lacks['exit']}")
        with torch.no_grad():
            return self._tail.project(states, columns, normed=normed)

    @contextmanager
    def planned(self, plan: MaskPlan) -> Iterator[None]:
        """Run with another mask plan for a while; for the start-up check."""
        before, self._plan = self._plan, plan
        try:
            yield
        finally:
            self._plan = before

    def _refuse_misfits(self, segments: Sequence[Segment]) -> None:
        if not segments:
            raise ValueError("a pass needs at least one segment")
        if len({segment.row for segment in segments}) != len(segments):
            raise ValueError("two segments of one pass share a row")
        for segment in segments:
            count = len(segment.tokens)
            if not count:
                raise ValueError(f"row {segment.row}: a segment needs at least one token")
            if segment.base + count > self._arena.capacity(segment.row):
                raise ValueError(f"row {segment.row} has no slots for {segment.base} + {count} tokens")
            if segment.start + max(segment.depths) >= self._plan.limit:
                raise InputError(
                    f"a row of {segment.start + max(segment.depths) + 1} tokens is longer than the "
                    f"{self._plan.limit} that {type(self.model).__name__} can take",
                    hint="shorten the prompt or max_new_tokens, or choose a model with a longer context",
                    component="transformers backend",
                )

    @contextmanager
    def _early(self, layers: Collection[int], wanted: torch.Tensor) -> Iterator[dict[int, torch.Tensor]]:
        """States after blocks at the wanted tokens of a pass, filled while it runs."""
        if self._tail is None:
            yield {}
            return
        with self._tail.states(layers, wanted) as early:
            yield early

    def _find_exits(self) -> None:
        """Find the blocks, and offer early exits if what is projected of the last one is what the model predicts."""
        row = self.open_row(8)
        try:
            self._tail = Tail(self.model, lambda: self.forward([Segment(row, 0, [0], [0], None, [0])]))
            reason = exits_fail(self, row)
        except RunError:
            raise
        except Exception as error:  # whatever somebody's model raises is the reason to offer none
            reason = str(error).partition("\n")[0] or type(error).__name__
        finally:
            self.close_row(row)
        if reason is None:
            self.interventions = frozenset({"exit"})
            return
        self._tail = None
        name = type(self.model).__name__
        self.lacks["exit"] = f"in {name}, the states between blocks could not be told: {reason}"

    def _sizes(self) -> tuple[int, int]:
        """Vocabulary and hidden size, read off a pass over one token, which also allocates the cache's layers."""
        output = self._probe()
        assert output.hidden is not None
        return output.logits.shape[1], output.hidden.shape[1]

    def _tap_widths(self) -> dict[str, int]:
        """Vectors of the last block that a pass over two tokens tells, and their width."""
        widths = {}
        for name in sorted(self._taps.names):
            with suppress(RunError):  # a model built in another way: it is run, but does not tell
                widths[name] = self._probe(name).taps[name].shape[1]
        return widths

    def _probe(self, *taps: str) -> Output:
        row = self.open_row(2)
        try:
            return self.forward([Segment(row, 0, [0, 0], [0, 1], None, [1])], hidden=True, taps=taps)
        finally:
            self.close_row(row)


@contextmanager
def _head_reads(model: PreTrainedModel, wanted: torch.Tensor, logits: bool) -> Iterator[list[torch.Tensor]]:
    """Let the language model head read the wanted tokens only, ``wanted [M]`` of the flattened batch.

    Rows want different places and different numbers of logits. Scaling and capping of logits come after the head
    and stay the model's own. The list receives what the head read, ``[1, M, H]``; it reads nothing without ``logits``.
    """
    read: list[torch.Tensor] = []

    def gather(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        states = inputs[0]  # [B, L, H]
        read.append(states.reshape(-1, states.shape[-1]).index_select(0, wanted)[None])
        return (read[-1] if logits else read[-1][:, :0],)

    head: torch.nn.Module = model.get_output_embeddings()
    handle = head.register_forward_pre_hook(gather)
    try:
        yield read
    finally:
        handle.remove()
