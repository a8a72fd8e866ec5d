"""The transformers backend against stock models that re-run each node's whole path without a cache."""

import itertools
import logging
import random

import pytest
import torch

from ragdecode.decoding.backend import Segment
from ragdecode.decoding.backends.transformers import TransformersBackend
from ragdecode.errors import InputError, RunError
from tests.decoding.stock import EXACT, TOLERANCE, assert_close, chain, stock_logits
from tests.decoding.tiny_models import tiny


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


@pytest.mark.parametrize("family", [name for name in EXACT if "sliding" in name or name in ("gemma2", "gemma3")])
def test_windows_count_positions_and_not_slots(family: str) -> None:
    """A deep branch below a late sibling: its slots run ahead of its positions."""
    model = tiny(family)
    backend = TransformersBackend(model)
    row = backend.open_row(32)
    tree, parents, depths = [3, 4, 5, 6, 7, 8, 9, 10, 11], [-1, 0, 0, 0, 3, 4, 5, 6, 7], [0, 1, 1, 1, 2, 3, 4, 5, 6]
    got = backend.forward([Segment(row, 0, tree, depths, parents, range(9))]).logits
    wanted = [stock_logits(model, [tree[i] for i in path_to(parents, node)]) for node in range(9)]
    assert_close(got, torch.stack(wanted), TOLERANCE.get(family, 1e-9))


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
