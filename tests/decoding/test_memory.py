"""What rules remember: exact after rewinds, bounded where nothing rewinds, and no table of a step is held."""

from __future__ import annotations

import random

import pytest
import torch

from ragdecode.decoding.memory import Memory
from ragdecode.decoding.request import Request, Sampling
from ragdecode.decoding.ruling import Ruling
from tests.decoding.history_rules import TreeDrafter, decode, engine, request, rule


@pytest.mark.parametrize("seed", range(4))
def test_memory_is_a_list_of_rows(seed):
    rng, memory, rows = random.Random(seed), Memory(), []
    for _ in range(200):
        if rows and rng.random() < 0.2:
            to = rng.randrange(len(rows) + 1)
            memory.rewind(to)
            del rows[to:]
        new = torch.rand(rng.randrange(4), 3)
        memory.add(new)
        rows += list(new)
        count = rng.choice([None, 0, 1, 5, 1000])
        own = rows if count is None else rows[len(rows) - min(count, len(rows)) :]
        assert len(memory) == len(rows)
        assert memory.last(count).tolist() == [row.tolist() for row in own]


def test_memory_with_a_limit_stays_small_and_keeps_the_last_rows():
    memory, rows = Memory(7), []
    for step in range(300):
        new = torch.full((step % 3, 2), float(step))
        memory.add(new)
        rows += new.tolist()
        assert memory.last(7).tolist() == rows[-7:]
    assert len(memory) == len(rows)
    assert memory.held <= 32
    with pytest.raises(ValueError, match="dropped"):
        memory.rewind(1)


def test_no_table_of_a_step_is_held():
    """A row of a step's table is copied; a view of it would keep the table, and with it all nodes of a batch."""
    ruling = Ruling(request("a", [rule("lookback")]))
    table = torch.rand(8, 50)
    ruling.accept({0: table[2:6]}, [0, 1], {})
    table.zero_()
    kept = ruling.memories[0].last()
    assert kept.min() > 0
    assert kept.untyped_storage().nbytes() == 16 * 50 * 4


def test_lookback_drops_what_is_out_of_its_window_and_answers_the_same():
    common = {"max_new_tokens": 60, "sampling": Sampling(temperature=1.0)}
    look = rule("lookback", threshold=1.6, top_k=4, window=3)
    plain = decode(engine(), request("a", [look], **common))["a"]
    drafted = decode(engine(), request("a", [look], drafters=[TreeDrafter(plain.tokens, 3)], **common))["a"]
    look.recalls = None
    whole = decode(engine(), request("a", [look], **common))["a"]
    assert plain.tokens == drafted.tokens == whole.tokens
    assert len(plain.tokens) == 60


def test_memory_is_bounded_only_where_nothing_rewinds():
    def memory(item: Request) -> Memory:
        ruling = Ruling(item)
        for _ in range(200):
            ruling.accept({0: torch.rand(1, 4)}, [0], {})
        return ruling.memories[0]

    look = rule("lookback", window=5)
    assert memory(request("a", [look])).held <= 32
    watched = request("a", [look], monitors=[_Watching()])
    assert memory(watched).held >= 200


class _Watching:
    views = ()
