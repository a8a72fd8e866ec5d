"""The words of ``bench``: rates, medians, ratios within a repeat, agreement with ties apart."""

import pytest

from ragdecode.errors import InputError
from ragdecode.evaluation.bench.agreement import TIE, Agreement
from ragdecode.evaluation.bench.benchmark import contender_names
from ragdecode.evaluation.bench.contender import Run
from ragdecode.evaluation.bench.report import summarise


def run(new: int, steps: int, first: float, seconds: float, peak: float | None = None) -> Run:
    return Run(tuple(range(new)), new, steps, first, seconds, peak)


def test_rates_count_the_prefill_in_or_leave_it_out():
    runs = [run(11, 11, 1.0, 3.0), run(1, 1, 5.0, 5.0), run(21, 21, 2.0, 4.0)]
    row = summarise([{"hf-greedy": runs}], {"hf-greedy": None})["contenders"]["hf-greedy"]
    assert row["tokens_per_second"] == pytest.approx(33 / 12)
    assert row["decode_tokens_per_second"] == pytest.approx(30 / 4)  # the answer of one token is left out
    assert row["first_token_seconds"] == 2.0
    assert row["steps"] == 33
    assert row["mean_accepted"] == 1.0
    assert row["peak_memory_mb"] is None
    assert row["tokens_equal"] is None


def test_ratios_are_taken_within_each_repeat_before_the_median():
    # between repeats the machine slowed tenfold; within each, ours was twice, four times, three times as fast
    repeats = [
        {"ragdecode": [run(10, 5, 0, 1.0)], "hf-greedy": [run(10, 10, 0, 2.0)]},
        {"ragdecode": [run(10, 5, 0, 10.0)], "hf-greedy": [run(10, 10, 0, 40.0)]},
        {"ragdecode": [run(10, 5, 0, 1.0)], "hf-greedy": [run(10, 10, 0, 3.0)]},
    ]
    found = summarise(repeats, {"ragdecode": None, "hf-greedy": None})
    assert found["ratios"] == {
        "ragdecode/hf-greedy": {
            "tokens_per_second": pytest.approx(3.0),
            "decode_tokens_per_second": pytest.approx(3.0),
        }
    }
    assert found["contenders"]["ragdecode"]["tokens_per_second"] == 10.0
    assert found["contenders"]["ragdecode"]["mean_accepted"] == 2.0


def test_no_answer_of_two_tokens_has_no_decode_rate():
    found = summarise([{"a": [run(1, 1, 1.0, 1.0)]}], {"a": None})
    assert found["contenders"]["a"]["decode_tokens_per_second"] is None


def test_agreement_keeps_ties_apart():
    agreement = Agreement()
    asked = []

    def gap(size):
        def score(common, mine, theirs):
            asked.append((tuple(common), mine, theirs))
            return size

        return score

    agreement.add((1, 2, 3), (1, 2, 3), gap(0.0))
    assert asked == []
    agreement.add((1, 2, 3), (1, 9, 3), gap(TIE / 2))
    agreement.add((1, 2, 3), (1, 9, 3), gap(TIE * 2))
    agreement.add((1, 2), (1, 2, 3), gap(None))
    assert agreement.to_json() == {"same": 1, "ties": 1, "different": 2}
    assert asked == [((1,), 2, 9), ((1,), 2, 9), ((1, 2), None, 3)]


def test_names_of_contenders():
    assert contender_names("hf-greedy, hf-greedy,ragdecode-nodraft") == ("ragdecode", "hf-greedy", "ragdecode-nodraft")
    with pytest.raises(InputError, match="hf-gredy") as caught:
        contender_names("hf-gredy")
    assert "did you mean 'hf-greedy'" in caught.value.hint
