"""The transformers backend against stock models that re-run each node's whole path without a cache."""

import itertools
import logging
import random

import pytest
import torch
from transformers import PreTrainedModel

from ragdecode.decoding.backend import Segment
from ragdecode.decoding.backends import transformers_check
from ragdecode.decoding.backends.transformers import TransformersBackend
from ragdecode.errors import InputError, RunError
from tests.decoding.tiny_models import FAMILIES, tiny

EXACT = [name for name in FAMILIES if name != "falcon_alibi"]

# Gemma 2 caps attention scores, which sdpa cannot do; eager attention takes its softmax in float32.
TOLERANCE = {"gemma2": 1e-6}


def stock_logits(model: PreTrainedModel, tokens: list[int]) -> torch.Tensor:
    """Logits [V] after the last token: full row, no cache, no mask of ours."""
    with torch.no_grad():
        return model(torch.tensor([tokens]), use_cache=False).logits[0, -1]


def chain(row: int, base: int, tokens: list[int], outputs: list[int] | None = None) -> Segment:
    return Segment(row, base, tokens, range(len(tokens)), None, [len(tokens) - 1] if outputs is None else outputs)


def random_tree(rng: random.Random, pending: int, nodes: int) -> tuple[list[int], list[int]]:
    """Parents and depths of a chain of pending tokens with a random tree below its last."""
    parents = list(range(-1, pending - 1)) + [rng.randrange(pending - 1, i) for i in range(pending, pending + nodes)]
    depths: list[int] = []
    for parent in parents:
        depths.append(0 if parent < 0 else depths[parent] + 1)
    return parents, depths


def path_to(parents: list[int], node: int) -> list[int]:
    path = []
    while node >= 0:
        path.append(node)
        node = parents[node]
    return path[::-1]


def assert_close(got: torch.Tensor, wanted: torch.Tensor, tolerance: float = 1e-9) -> None:
    assert got.shape == wanted.shape
    assert torch.isfinite(got).all()
    assert (got - wanted).abs().max().item() <= tolerance


@pytest.fixture(autouse=True)
def _quiet_transformers() -> None:
    logging.getLogger("transformers").setLevel(logging.ERROR)


@pytest.mark.parametrize("family", EXACT)
def test_random_trees_in_ragged_rows_are_exact_through_commits(family: str) -> None:
    model = tiny(family)
    backend = TransformersBackend(model)
    tolerance = TOLERANCE.get(family, 1e-9)
    rng = random.Random(7)
    token = lambda count: [rng.randrange(97) for _ in range(count)]  # noqa: E731
    texts = [token(3), token(11), token(6)]
    rows = [backend.open_row(64) for _ in texts]
    output = backend.forward([chain(row, 0, text) for row, text in zip(rows, texts, strict=True)], hidden=True)
    assert_close(output.logits, torch.stack([stock_logits(model, text) for text in texts]), tolerance)
    for _ in range(3):
        segments, wanted, paths = [], [], []
        # Other rows, in another order, each step; texts grow past the small windows of the sliding families.
        for index in rng.sample(range(3), rng.choice([1, 2, 3])):
            pending = rng.randint(1, 3)
            parents, depths = random_tree(rng, pending, rng.randint(0, 8))
            new = token(len(parents))
            if len(new) > pending + 1:
                new[-1] = new[-2]  # the same token under other parents must stay apart
            outputs = sorted(rng.sample(range(len(new)), rng.randint(1, len(new))))
            segments.append(Segment(rows[index], len(texts[index]), new, depths, parents, outputs))
            wanted += [texts[index] + [new[i] for i in path_to(parents, node)] for node in outputs]
            paths.append((index, path_to(parents, rng.randrange(pending - 1, len(new))), new))
        got = backend.forward(segments).logits
        assert_close(got, torch.stack([stock_logits(model, text) for text in wanted]), tolerance)
        for index, path, new in paths:
            backend.keep(rows[index], len(texts[index]), path)
            texts[index] = texts[index] + [new[i] for i in path]
    follow = token(1)[0]
    got = backend.forward([chain(row, len(text), [follow]) for row, text in zip(rows, texts, strict=True)]).logits
    assert_close(got, torch.stack([stock_logits(model, [*text, follow]) for text in texts]), tolerance)
    assert max(len(text) for text in texts) > 11


@pytest.mark.parametrize("family", EXACT)
def test_committed_cache_equals_a_fresh_prefill(family: str) -> None:
    backend = TransformersBackend(tiny(family))
    prompt, tree, parents = [5, 9, 14, 3, 8, 21, 30], [7, 40, 41, 42, 43], [-1, 0, 0, 2, 1]
    row, fresh = backend.open_row(32), backend.open_row(32)
    backend.forward([chain(row, 0, prompt)])
    backend.forward([Segment(row, len(prompt), tree, [0, 1, 1, 2, 2], parents, [])])
    backend.keep(row, len(prompt), [0, 2, 3])
    text = [*prompt, 7, 41, 42]
    backend.forward([chain(fresh, 0, text)])
    tolerance = TOLERANCE.get(family, 1e-9)
    for layer in backend._arena.layers:
        for states in (layer.keys, layer.values):
            assert_close(states[row, :, : len(text)], states[fresh, :, : len(text)], tolerance)


@pytest.mark.parametrize("family", ["llama", "gemma3", "opt", "opt_projected", "gpt2", "falcon", "qwen3_moe"])
def test_hidden_states_are_those_after_the_final_norm(family: str) -> None:
    model = tiny(family)
    backend = TransformersBackend(model)
    row = backend.open_row(16)
    output = backend.forward([chain(row, 0, [4, 8, 15, 16], outputs=[1, 3])], hidden=True)
    with torch.no_grad():
        wanted = model.base_model(torch.tensor([[4, 8, 15, 16]]), use_cache=False).last_hidden_state
    assert output.hidden is not None
    assert_close(output.hidden, wanted[0, [1, 3]])
    assert output.hidden.shape[1] == backend.hidden_size
    assert backend.forward([chain(row, 4, [1])]).hidden is None


def test_logits_come_in_the_order_of_segments_and_outputs() -> None:
    model = tiny("qwen2")
    backend = TransformersBackend(model)
    first, second = backend.open_row(8), backend.open_row(8)
    got = backend.forward([chain(second, 0, [3, 4, 5], [2, 0]), chain(first, 0, [6, 7], [])]).logits
    assert_close(got, torch.stack([stock_logits(model, [3, 4, 5]), stock_logits(model, [3])]))
    got = backend.forward([chain(second, 3, [9]), chain(first, 2, [10])]).logits
    assert_close(got, torch.stack([stock_logits(model, [3, 4, 5, 9]), stock_logits(model, [6, 7, 10])]))


def test_a_pass_without_outputs_gives_no_logits() -> None:
    backend = TransformersBackend(tiny("llama"))
    output = backend.forward([chain(backend.open_row(8), 0, [1, 2], [])], hidden=True)
    assert output.logits.shape == (0, backend.vocab_size)
    assert output.hidden is not None
    assert output.hidden.shape == (0, backend.hidden_size)


def test_prefill_in_chunks_beside_decoding_rows_is_exact() -> None:
    model = tiny("qwen3")
    backend = TransformersBackend(model)
    long, short = [i % 97 for i in range(5, 65)], [8, 9]
    row, other = backend.open_row(80), backend.open_row(80)
    backend.forward([chain(other, 0, short)])
    for start in range(0, 60, 25):
        piece = long[start : start + 25]
        short.append(start)
        got = backend.forward([chain(row, start, piece), chain(other, len(short) - 1, [start])]).logits
        wanted = [stock_logits(model, long[: start + len(piece)]), stock_logits(model, short)]
        assert_close(got, torch.stack(wanted))


def test_rows_do_not_feel_their_neighbours() -> None:
    backend = TransformersBackend(tiny("llama"))
    lonely = backend.forward([chain(backend.open_row(64), 0, [5, 6, 7])]).logits
    busy = [chain(backend.open_row(64), 0, list(range(3, 3 + length))) for length in (1, 40, 9)]
    crowded = backend.forward([busy[0], chain(backend.open_row(64), 0, [5, 6, 7]), *busy[1:]]).logits
    assert_close(crowded[1], lonely[0], 1e-12)


def test_a_reused_row_is_clean_even_of_what_is_not_a_number() -> None:
    model = tiny("llama")
    backend = TransformersBackend(model)
    row, other = backend.open_row(32), backend.open_row(32)
    backend.forward([chain(row, 0, list(range(20)))])
    for layer in backend._arena.layers:
        layer.keys[row] = torch.nan
        layer.values[row] = torch.nan
    backend.close_row(row)
    assert backend.open_row(32) == row
    got = backend.forward([chain(row, 0, [7, 8]), chain(other, 0, list(range(30, 50)))]).logits
    wanted = [stock_logits(model, [7, 8]), stock_logits(model, list(range(30, 50)))]
    assert_close(got, torch.stack(wanted))


def test_growing_keeps_what_rows_hold_and_allocates_seldom() -> None:
    model = tiny("llama")
    backend = TransformersBackend(model)
    row = backend.open_row(6)
    backend.forward([chain(row, 0, [5, 6, 7])])
    storage = {layer.keys.data_ptr() for layer in backend._arena.layers}
    for token in (8, 9):
        backend.forward([chain(row, 3, [token])])
    assert {layer.keys.data_ptr() for layer in backend._arena.layers} == storage  # decoding never allocates
    sizes = []
    for capacity in range(6, 60):
        backend.open_row(capacity)
        sizes.append((backend._arena.placement.rows, backend._arena.placement.capacity))
    assert len(set(sizes)) < 24  # grows by halves, not by ones
    assert_close(backend.forward([chain(row, 3, [8])]).logits[0], stock_logits(model, [5, 6, 7, 8]))


@pytest.mark.parametrize("rows", list(itertools.permutations([0, 1, 3], 2)))
def test_scattered_rows_are_exact(rows: tuple[int, int]) -> None:
    model = tiny("phi3")
    backend = TransformersBackend(model)
    texts = {backend.open_row(16): [5 + row, 6, 7] for row in range(4)}
    backend.forward([chain(row, 0, text) for row, text in texts.items()])
    got = backend.forward([chain(row, 3, [row + 1]) for row in rows]).logits
    assert_close(got, torch.stack([stock_logits(model, [*texts[row], row + 1]) for row in rows]))


def test_a_failed_pass_leaves_rows_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("llama")
    backend = TransformersBackend(model)
    row = backend.open_row(16)
    backend.forward([chain(row, 0, [5, 6, 7])])
    last = model.model.layers[1]
    with monkeypatch.context() as patch:

        def fail(*_args: object, **_kwargs: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(last, "forward", fail)
        with pytest.raises(KeyboardInterrupt):
            backend.forward([chain(row, 3, [11, 12])])
    assert not model.lm_head._forward_pre_hooks
    assert_close(backend.forward([chain(row, 3, [8])]).logits[0], stock_logits(model, [5, 6, 7, 8]))


def test_memory_that_runs_out_is_a_run_error(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = TransformersBackend(tiny("llama"))
    row = backend.open_row(16)
    with pytest.raises(RunError, match="no memory for a cache of 2 rows of 1125899906842624 tokens") as caught:
        backend.open_row(2**50)
    assert caught.value.hint
    assert backend.open_row(16) == row + 1  # the failed one left nothing behind

    def fail(*_args: object, **_kwargs: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(backend.model.model, "forward", fail)
    with pytest.raises(RunError, match="no memory for a pass over 1 rows of 2 new tokens"):
        backend.forward([chain(row, 0, [1, 2])])


def test_rows_longer_than_the_model_can_take_are_refused() -> None:
    backend = TransformersBackend(tiny("opt"))
    assert backend.max_positions == 256
    row = backend.open_row(300)
    with pytest.raises(InputError, match="257 tokens is longer than the 256"):
        backend.forward([chain(row, 0, [1] * 257)])
    assert backend.forward([chain(row, 0, [1] * 256)]).logits.shape == (1, 97)


def test_segments_that_do_not_fit_are_refused() -> None:
    backend = TransformersBackend(tiny("llama"))
    row = backend.open_row(4)
    for segments in ([], [chain(row, 0, [])], [chain(row, 0, [1]), chain(row, 1, [1])], [chain(row, 3, [1, 2])]):
        with pytest.raises(ValueError, match=r"segment|share a row|no slots"):
            backend.forward(segments)
    with pytest.raises(ValueError, match="row 9 is not open"):
        backend.forward([chain(9, 0, [1])])


def test_sizes_are_those_of_the_model() -> None:
    backend = TransformersBackend(tiny("opt_projected", vocab_size=61))
    assert (backend.vocab_size, backend.hidden_size, backend.max_positions) == (61, 16, 256)
    assert (backend.device, backend.dtype) == (torch.device("cpu"), torch.float64)


def test_dropout_is_off() -> None:
    model = tiny("gpt2", attn_pdrop=0.5, resid_pdrop=0.5).train()
    backend = TransformersBackend(model)
    row = backend.open_row(8)
    got = backend.forward([chain(row, 0, [1, 2, 3])]).logits
    assert torch.equal(got, backend.forward([chain(row, 0, [1, 2, 3])]).logits)


@pytest.mark.parametrize("length", [40, 41])
def test_rotary_embeddings_that_change_with_length_limit_the_row(length: int) -> None:
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "rope_theta": 1e4}
    settings = {"rope_parameters": {**rope, "original_max_position_embeddings": 40}}
    model = tiny("phi3", original_max_position_embeddings=40, **settings)
    backend = TransformersBackend(model)
    assert backend.max_positions == 40
    row = backend.open_row(64)
    text = [i % 97 for i in range(length)]
    if length > 40:
        with pytest.raises(InputError, match="longer than the 40"):
            backend.forward([chain(row, 0, text)])
    else:
        assert_close(backend.forward([chain(row, 0, text)]).logits[0], stock_logits(model, text))


# --- the start-up check -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", EXACT)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_check_would_accept_what_is_proved(
    family: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(family, dtype=dtype)
    proved = TransformersBackend(model)
    monkeypatch.setattr(transformers_check, "PROVED", frozenset())
    checked = TransformersBackend(model)
    assert checked._plan == proved._plan
    assert not checked._arena._capacity


@pytest.mark.parametrize("family", ["starcoder2", "stablelm", "olmo2", "granite", "cohere"])
def test_unproved_families_that_pass_the_check_are_exact(family: str) -> None:
    model = tiny(family)
    backend = TransformersBackend(model)
    row = backend.open_row(16)
    backend.forward([chain(row, 0, [5, 6, 7])])
    got = backend.forward([Segment(row, 3, [8, 9, 10], [0, 1, 1], [-1, 0, 0], [2])]).logits
    assert_close(got[0], stock_logits(model, [5, 6, 7, 8, 10]))


def test_a_window_of_an_unproved_family_is_checked_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("starcoder2", sliding_window=100)
    backend = TransformersBackend(model)
    assert backend._plan.window == 100
    assert backend.max_positions == 256
    assert model.config.sliding_window == 100
    row = backend.open_row(200)
    text = [(7 * i) % 97 for i in range(150)]
    assert_close(backend.forward([chain(row, 0, text)]).logits[0], stock_logits(model, text))


def test_a_window_that_cannot_be_confirmed_limits_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration that names a window which the model does not apply is right only for rows inside it."""
    model = tiny("stablelm")
    model.config.sliding_window = 100
    backend = TransformersBackend(model)
    assert backend.max_positions == 100
    row = backend.open_row(128)
    text = [(7 * i) % 97 for i in range(100)]
    assert_close(backend.forward([chain(row, 0, text)]).logits[0], stock_logits(model, text))
    with pytest.raises(InputError, match="101 tokens is longer than the 100"):
        backend.forward([chain(row, 0, [*text, 1])])


@pytest.mark.parametrize(
    ("family", "settings", "reason"),
    [
        ("falcon_alibi", {}, "check of draft trees"),
        ("bloom", {"n_head": 4}, "check of draft trees"),
        ("mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2}, "check of draft trees"),
        ("mamba", {}, "recurrent state"),
        ("rwkv", {"attention_hidden_size": 32}, "recurrent state"),
        ("recurrent_gemma", {}, "recurrent state"),
        ("jamba", {}, "recurrent state"),
        ("minimax", {}, "linear_attention"),
        ("gpt2", {"add_cross_attention": True}, "attend to an encoder"),
        ("gemma3", {"use_bidirectional_attention": True}, "looks ahead"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_models_that_cannot_be_exact_are_refused(
    family: str, settings: dict[str, object], reason: str, dtype: torch.dtype
) -> None:
    model = tiny(family, dtype=dtype, **settings)
    with pytest.raises(InputError, match=reason) as caught:
        TransformersBackend(model)
    assert type(model).__name__ in str(caught.value)
    assert caught.value.hint


def test_an_encoder_decoder_is_refused() -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    model = T5ForConditionalGeneration(T5Config(d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2, vocab_size=32))
    with pytest.raises(InputError, match="encoder-decoder"):
        TransformersBackend(model)


def test_attention_without_4d_masks_is_refused_with_the_way_out() -> None:
    model = tiny("llama", attention="flex_attention")
    with pytest.raises(InputError, match="flex_attention") as caught:
        TransformersBackend(model)
    assert 'attn_implementation="sdpa"' in str(caught.value.hint)


def test_a_custom_class_under_a_proved_name_is_checked() -> None:
    """Only transformers' own classes are taken on trust; another module's namesake that ignores positions is not."""
    from transformers import LlamaForCausalLM as Stock

    class LlamaForCausalLM(Stock):
        def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, **options):
            return super().forward(
                input_ids=input_ids, attention_mask=attention_mask, past_key_values=past_key_values, **options
            )

    model = tiny("llama")
    model.__class__ = LlamaForCausalLM
    with pytest.raises(InputError, match="check of draft trees"):
        TransformersBackend(model)
