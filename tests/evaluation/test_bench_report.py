"""The words of ``bench``: rates, medians, ratios within a repeat, intervals, agreement with ties apart."""

import random
import statistics

import numpy as np
import pytest

from ragdecode.errors import InputError
from ragdecode.evaluation.bench.agreement import TIE, Agreement
from ragdecode.evaluation.bench.contender import Run, Turn
from ragdecode.evaluation.bench.contenders import contender_names
from ragdecode.evaluation.bench.rates import LEVEL, RESAMPLES, Speed
from ragdecode.evaluation.bench.report import summarise


def run(new: int, steps: int, first: float, seconds: float, **more) -> Turn:
    return Turn.alone(Run(tuple(range(new)), new, steps, first, seconds, **more))


def test_rates_count_the_prefill_in_or_leave_it_out():
    turns = [run(11, 11, 1.0, 3.0), run(1, 1, 5.0, 5.5), run(21, 21, 2.0, 4.0)]
    row = summarise([{"hf-greedy": turns}], {"hf-greedy": None})["contenders"]["hf-greedy"]
    assert row["tokens_per_second"] == pytest.approx(33 / 12.5)
    assert row["decode_tokens_per_second"] == pytest.approx(30 / 4)  # the answer of one token is left out
    assert row["first_token_seconds"] == 2.0
    assert row["steps"] == row["new_tokens"] == 33
    assert row["mean_accepted"] == 1.0
    assert row["peak_memory_mb"] is None
    assert row["tokens_equal"] is None
    assert row["nodes_per_step"] is None  # it does not tell what it drafted
    assert row["note"] is None


def test_a_batch_is_timed_as_a_whole():
    runs = [Run((1,) * 4, 4, 4, 1.0, 2.0), Run((1,) * 6, 6, 3, 1.5, 3.0)]
    row = summarise([{"a": [Turn(runs, 3.0, 7, 1.5, 10.0)]}], {"a": None})["contenders"]["a"]
    assert row["tokens_per_second"] == pytest.approx(10 / 3)
    assert row["decode_tokens_per_second"] == pytest.approx(7 / 1.5)
    assert row["first_token_seconds"] == 1.25
    assert row["mean_accepted"] == pytest.approx(10 / 7)
    assert row["peak_memory_mb"] == 10.0


def test_sources_are_summed_over_prompts_and_not_over_repeats():
    def drafted(proposed, accepted):
        sources = {"datastore": {"proposed": proposed, "accepted": accepted}}
        return run(10, 5, 0.0, 1.0, drafted=proposed, sources=sources)

    first = [drafted(10, 4), drafted(20, 2)]
    row = summarise([{"a": first}, {"a": [drafted(1, 1)] * 2}], {"a": None}, {"a": "so"})["contenders"]["a"]
    assert row["sources"] == {"datastore": {"proposed": 30, "accepted": 6, "share": pytest.approx(0.2)}}
    assert row["nodes_per_step"] == 1 + 30 / 10
    assert row["note"] == "so"
    silent = run(10, 5, 0.0, 1.0, drafted=0, sources={"ngram": {"proposed": 0, "accepted": 0}})
    row = summarise([{"a": [silent]}], {"a": None})["contenders"]["a"]
    assert row["sources"]["ngram"]["share"] is None
    assert row["nodes_per_step"] == 1.0


def test_ratios_are_taken_within_each_repeat_before_the_median():
    # between repeats the machine slowed tenfold; within each, ours was twice, four times, three times as fast
    repeats = [
        {"ragdecode": [run(10, 5, 0, 1.0)], "hf-greedy": [run(10, 10, 0, 2.0)]},
        {"ragdecode": [run(10, 5, 0, 10.0)], "hf-greedy": [run(10, 10, 0, 40.0)]},
        {"ragdecode": [run(10, 5, 0, 1.0)], "hf-greedy": [run(10, 10, 0, 3.0)]},
    ]
    found = summarise(repeats, {"ragdecode": None, "hf-greedy": None})
    (ratio,) = found["ratios"].items()
    assert ratio[0] == "ragdecode/hf-greedy"
    assert ratio[1] == {
        "tokens_per_second": pytest.approx(3.0),
        "decode_tokens_per_second": pytest.approx(3.0),
        "tokens_per_second_interval": pytest.approx([2.0, 4.0]),
        "decode_tokens_per_second_interval": pytest.approx([2.0, 4.0]),
    }
    assert found["contenders"]["ragdecode"]["tokens_per_second"] == 10.0
    assert found["contenders"]["ragdecode"]["mean_accepted"] == 2.0


def test_every_contender_is_a_base():
    turns = {name: [run(2, 2, 0, 1.0)] for name in ("ragdecode", "hf-greedy", "hf-prompt-lookup", "llama-cpp")}
    ratios = summarise([turns], dict.fromkeys(turns))["ratios"]
    assert {"ragdecode/hf-prompt-lookup", "ragdecode/llama-cpp", "hf-greedy/llama-cpp"} <= set(ratios)
    assert not any(name.endswith("/ragdecode") for name in ratios)
    assert ratios["ragdecode/llama-cpp"]["tokens_per_second_interval"] is None  # one prompt, once: nothing to draw


def test_no_answer_of_two_tokens_has_no_decode_rate():
    turns = [run(1, 1, 1.0, 1.0), run(0, 1, 1.0, 1.0)]
    found = summarise([{"a": turns, "hf-greedy": turns}], {"a": None, "hf-greedy": None})
    assert found["contenders"]["a"]["decode_tokens_per_second"] is None
    assert found["contenders"]["a"]["decode_tokens_per_second_interval"] is None
    assert found["ratios"]["a/hf-greedy"]["decode_tokens_per_second"] is None
    assert found["ratios"]["a/hf-greedy"]["tokens_per_second"] == 1.0


def naive_interval(mine, base):
    """Resampled ratios by loops over turns, in the order in which the draws come."""
    repeats, turns = len(mine), len(mine[0])
    chance = np.random.default_rng(0)
    drawn = chance.integers(turns, size=(RESAMPLES, turns)).tolist()
    chosen = chance.integers(repeats, size=(RESAMPLES, repeats)).tolist()
    found = []
    for places, numbers in zip(drawn, chosen, strict=True):
        ratios = []
        for number in numbers:
            rates = []
            for who in (mine, base):
                amount = sum(len(who[number][place].runs[0].tokens) for place in places)
                rates.append(amount / sum(who[number][place].seconds for place in places))
            ratios.append(rates[0] / rates[1])
        found.append(statistics.median(ratios))
    found.sort()

    def quantile(share):
        at = share * (len(found) - 1)
        low = int(at)
        return found[low] + (at - low) * (found[min(low + 1, len(found) - 1)] - found[low])

    return quantile((1 - LEVEL) / 2), quantile((1 + LEVEL) / 2)


@pytest.mark.parametrize(("repeats", "prompts"), [(3, 7), (2, 5), (1, 6), (4, 1)])
def test_intervals_are_those_of_a_naive_bootstrap(repeats, prompts):
    chance = random.Random(repeats)

    def turns():
        return [
            [run(chance.randrange(1, 30), 5, 0.1, chance.uniform(0.5, 3.0)) for _ in range(prompts)]
            for _ in range(repeats)
        ]

    mine, base = turns(), turns()
    found = Speed.whole(mine).over(Speed.whole(base))
    assert (found.low, found.high) == pytest.approx(naive_interval(mine, base), rel=1e-9)
    assert found.low <= found.value <= found.high


def test_an_interval_holds_the_true_ratio_about_as_often_as_it_says():
    chance = np.random.default_rng(3)
    inside = 0
    for _ in range(200):
        mine, base = [], []
        for _ in range(30):
            pace = chance.uniform(0.5, 2.0)  # of the prompt, shared
            mine.append(run(100, 50, 0.0, float(pace * chance.lognormal(0, 0.3))))
            base.append(run(100, 100, 0.0, float(2 * pace * chance.lognormal(0, 0.3))))
        found = Speed.whole([mine]).over(Speed.whole([base]))
        inside += found.low <= 2.0 <= found.high
    assert 0.87 <= inside / 200 <= 0.99


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
