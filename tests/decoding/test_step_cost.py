"""Step costs: tables, their measurement on a pretended machine, and what is kept on disk."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ragdecode.decoding.backend import Output
from ragdecode.decoding.speculation import calibration
from ragdecode.decoding.speculation.calibration import calibrated, measure
from ragdecode.decoding.speculation.step_cost import StepCost, StepCosts, monotone
from tests.decoding.engines import backend


class Machine:
    """A backend whose passes take a known time, by its own clock."""

    vocab_size, hidden_size, layers, max_positions = 11, 4, 2, 4096
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, noise=()):
        self.now, self.rows, self.passes, self.noise = 0.0, {}, 0, itertools.cycle(noise or (0.0,))
        self.fails_at = None

    def clock(self):
        return self.now

    @staticmethod
    def true(rows):
        total = sum(new for new, _ in rows)
        return 0.02 + 0.001 * total + 0.004 * (len(rows) - 1) + sum(1e-7 * (5 + new) * held for new, held in rows)

    def open_row(self, capacity):
        self.rows[len(self.rows) + 1] = capacity
        return len(self.rows)

    def close_row(self, row):
        self.rows[row] = None

    def forward(self, segments, *, hidden=False, skip=frozenset()):
        self.passes += 1
        if self.passes == self.fails_at:
            raise KeyboardInterrupt
        for segment in segments:
            assert segment.base + len(segment.tokens) <= self.rows[segment.row]
        self.now += self.true([(len(segment.tokens), segment.base) for segment in segments]) + next(self.noise)
        return Output(torch.zeros(sum(len(segment.outputs) for segment in segments), self.vocab_size))


@pytest.mark.parametrize("rows", [[(1, 100)], [(7, 1500)], [(3, 0)], [(1, 60), (1, 900)], [(48, 300)], [(6, 9)] * 5])
def test_a_measured_table_gives_the_time_of_steps_that_were_not_measured(rows):
    machine = Machine(noise=(0.0, 0.0, 0.09, 0.0, 0.0, 0.0, 0.0))  # now and then something else takes a core
    table = measure(machine, clock=machine.clock)
    assert table.seconds(rows) == pytest.approx(Machine.true(rows), rel=0.03)
    assert set(machine.rows.values()) == {None}  # scratch rows are given back


def test_the_price_of_a_row_is_that_of_a_full_batch_also_where_two_rows_were_measured_badly():
    class Slow(Machine):
        """With two rows, it is held up whenever it is measured."""

        def forward(self, segments, **options):
            self.now += 0.01 * (len(segments) == 2)
            return super().forward(segments, **options)

    machine = Slow()
    table = measure(machine, clock=machine.clock)
    batch = [(3, 500)] * 8
    assert table.seconds(batch) == pytest.approx(Machine.true(batch), rel=0.04)
    assert table.row == pytest.approx(0.004, rel=0.15)


def test_measuring_ends_soon_on_a_slow_machine():
    machine = Machine(noise=(2.0,))
    measure(machine, clock=machine.clock)
    cells = len(calibration.SIZES) * 2 + len(calibration.MANY_ROWS)
    assert machine.passes == 2 * cells  # to warm up, and once


def test_a_short_window_is_measured_within_it():
    machine = Machine()
    machine.max_positions = 20
    table = measure(machine, clock=machine.clock)
    assert table.sizes == (1, 2, 4, 8, 16)
    assert table.seconds([(4, 0)]) == pytest.approx(0.024, rel=0.05)


def test_a_real_backend_is_measured_and_left_as_it_was():
    mine = backend()
    table = measure(mine, sizes=(1, 4))
    assert table.sizes == (1, 4)
    assert 0 < table.base[0] <= table.base[1] < 5
    assert not mine._rows


@given(st.lists(st.floats(0, 10), min_size=1, max_size=7), st.lists(st.floats(0, 10), min_size=7, max_size=7))
def test_smoothing_finds_the_closest_rising_sequence(values, other):
    smooth = monotone(values)
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(smooth))
    rival = sorted(other)[: len(values)]
    assert sum((a - b) ** 2 for a, b in zip(smooth, values, strict=True)) <= 1e-9 + sum(
        (a - b) ** 2 for a, b in zip(rival, values, strict=True)
    )


@given(st.integers(1, 80), st.integers(1, 80), st.integers(0, 3000), st.integers(1, 4))
def test_more_never_costs_less(size, other, held, rows):
    table = StepCost((1, 2, 4, 8), (0.02, 0.03, 0.03, 0.05), (0.0, 1e-6, 1e-6, 2e-6), 0.001)
    small, large = sorted((size, other))
    assert table.seconds([(small, held)] * rows) <= table.seconds([(large, held)] * rows)
    assert table.seconds([(small, held)] * rows) < table.seconds([(small, held)] * (rows + 1))
    assert table.seconds([(small, held)]) <= table.seconds([(small, held + 100)])


def test_between_sizes_it_is_linear_and_models_run_one_after_another():
    table = StepCost((1, 2, 4), (0.02, 0.03, 0.05), (0.0, 0.0, 0.0))
    assert table.seconds([(3, 0)]) == pytest.approx(0.04)
    assert table.seconds([(10, 0)]) == pytest.approx(0.05 + 6 * 0.01)
    costs = StepCosts({"main": table, "small": StepCost((1,), (0.001,), (0.0,))})
    assert costs.seconds([("main", 1, 0), ("small", 5, 0), ("other", 1, 0)]) == pytest.approx(0.02 + 0.001 + 0.02)
    assert costs.seconds([]) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        ((2, 4), (1, 2), (0, 0)),
        ((1, 2), (2, 1), (0, 0)),
        ((1,), (float("nan"),), (0,)),
        ((1,), (0.0,), (0,)),
        ((), (), ()),
        ((1, 2), (1, 2), (0,)),
    ],
)
def test_what_is_no_table_is_refused(wrong):
    with pytest.raises(ValueError, match=r"step|table"):
        StepCost(*wrong)


def test_a_table_is_kept_for_the_same_circumstances_and_no_others(tmp_path, monkeypatch):
    told = []

    def get(machine, **key):
        return calibrated(machine, {"model": "m", **key}, tmp_path / "steps", started=lambda: told.append(1))

    first = Machine()
    table = get(first)
    again = Machine()
    assert get(again) == table
    assert (again.passes, len(told)) == (0, 1)
    for change in ({"linear": "plain"}, {"model": "n"}):
        get(Machine(), **change)
    other = Machine()
    other.dtype = torch.bfloat16
    get(other)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    get(Machine())
    assert len(told) == 5
    assert len(list((tmp_path / "steps").iterdir())) == 5


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"format": 2}', b'{"format": 99, "key": {}, "cost": {}}']
)
def test_a_damaged_table_is_measured_again(tmp_path, damage):
    table = calibrated(Machine(), {}, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage)
    machine = Machine()
    assert calibrated(machine, {}, tmp_path).sizes == table.sizes
    assert machine.passes
    assert json.loads(file.read_text())["format"] == 2


@pytest.mark.parametrize("cost", [{"base": [1]}, {"sizes": "x", "base": [], "slope": [], "row": 0}, 5, None])
def test_a_table_with_strange_numbers_is_measured_again(tmp_path, cost):
    calibrated(Machine(), {}, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(json.dumps({**json.loads(file.read_text()), "cost": cost}))
    machine = Machine()
    calibrated(machine, {}, tmp_path)
    assert machine.passes


def test_an_interrupted_measurement_leaves_nothing(tmp_path):
    machine = Machine()
    machine.fails_at = 20
    with pytest.raises(KeyboardInterrupt):
        calibrated(machine, {}, tmp_path / "steps")
    assert not (tmp_path / "steps").exists()
    assert set(machine.rows.values()) == {None}


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "steps").write_text("a file in the way")
    assert calibrated(Machine(), {}, tmp_path / "steps").base
