"""The datastore drafter: proposals from a corpus, answers as without it."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch

from ragdecode.decoding.drafter import Verified
from ragdecode.decoding.drafters.datastore import Datastore, DatastoreSettings
from ragdecode.decoding.drafters.prompt_lookup import PromptLookup, PromptLookupSettings
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.request import Request, Sampling, View
from ragdecode.decoding.rules.cad import Cad, CadSettings
from ragdecode.errors import InputError
from ragdecode.indexing.tokens.datastore import TokenDatastore
from ragdecode.indexing.tokens.shard import Shard, id_type, separator
from tests.decoding.engines import backend, decode, prompt, request

DTYPE = id_type(97)


def store(*texts: list[int], folder: Path | None = None) -> TokenDatastore:
    tokens = np.array([token for text in texts for token in (*text, separator(DTYPE))], DTYPE)
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)]).astype(np.uint32)
    shard = Shard.sort(tokens, np.zeros((len(texts), 16), np.uint8), starts)
    return TokenDatastore([shard], DTYPE, folder, "tiny")


def session(source: TokenDatastore, tokens: list[int], drafter: Datastore | None = None, **settings):
    drafter = drafter or Datastore(DatastoreSettings(**settings))
    return drafter.start(Request("a", {"with_context": View(tokens)}, resources={"datastore": source}))


def accept(drafting, tokens):
    drafting.observe(Verified([], [], [], [], [], tokens, torch.empty(0)))


def test_the_most_frequent_continuations_make_a_tree():
    source = store([1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 6], [9, 2, 7])
    draft = session(source, [8, 1, 2]).propose(4)
    assert (draft.tokens, draft.parents) == ([3, 6, 4, 5], [-1, -1, 0, 0])
    assert draft.scores[0] == pytest.approx(2 / 3 * 9 / (9 + 12))
    assert draft.scores[2] == pytest.approx(draft.scores[0] / 2 * 16 / (16 + 12))
    assert len(draft.classes) == 4
    assert draft.classes[0] != draft.classes[1], "shares of two thirds and of one third are told apart"


def test_longer_matches_are_another_class_and_worth_more():
    source = store([*range(20), 30], [18, 19, 40])
    short, long = session(source, [18, 19]).propose(1), session(source, list(range(20))).propose(1)
    assert short.classes != long.classes
    assert long.tokens == [30]
    assert long.scores[0] > 0.9


@pytest.mark.parametrize("settings", [{"shortest": 3}, {"longest": 2, "shortest": 2}])
def test_runs_shorter_than_asked_for_do_not_match(settings):
    source = store([1, 2, 5], [0, 1, 2, 6])
    draft = session(source, [0, 1, 2], **settings).propose(4)
    assert set(draft.tokens) == ({6} if "longest" not in settings else {5, 6})


def test_the_end_of_the_prompt_and_the_answer_are_matched_together_and_a_rewind_goes_back():
    source = store([1, 2, 3, 4, 5, 6, 7])
    drafting = session(source, [1, 2])
    assert drafting.propose(2).tokens == [3, 4]
    accept(drafting, [3, 4])
    assert drafting.propose(2).tokens == [5, 6]
    accept(drafting, [60, 61])
    assert drafting.propose(2).tokens == ()
    drafting.rewind(2)
    assert drafting.propose(2).tokens == [5, 6]
    drafting.rewind(0)
    drafting.retrieved({"with_context": [50, 3, 4]})
    assert drafting.propose(2).tokens == [5, 6]


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 40])
def test_no_more_than_the_longest_run_is_looked_for(length):
    seen = []

    class Watched:
        def continuations(self, last, **settings):
            seen.append(list(last))

    drafting = session(Watched(), list(range(30)))
    answer = list(range(100, 100 + length))
    accept(drafting, answer)
    drafting.propose(4)
    assert seen == [[*range(30), *answer][-16:]]


def test_a_request_without_a_datastore_is_refused():
    with pytest.raises(InputError, match=r"no datastore(.|\n)*add the store 'tokens'"):
        Datastore(DatastoreSettings()).start(Request("a", {"with_context": View([1])}))


def test_settings_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="shortest"):
        DatastoreSettings(longest=2, shortest=3)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("answers", ["off", "session"])
@pytest.mark.parametrize("mixed", [False, True])
def test_answers_are_those_without_it(temperature, answers, mixed):
    views = {"with_context": prompt(1, 40), "without_context": prompt(2, 12)}
    settings = {
        "rules": [Cad(CadSettings(alpha=0.5))],
        "sampling": Sampling(temperature=temperature, seed=3),
        "max_new_tokens": 40,
    }
    plain = decode(
        Engine({"main": backend()}, max_batch=2),
        *(request(f"r{at}", {**views, "with_context": prompt(at, 40)}, **settings) for at in range(4)),
    )
    # what will be answered, with gaps and with other ends, so that drafts are right and wrong
    known = [result.tokens[start:end] for result in plain.values() for start, end in ((0, 12), (5, 30), (20, 40))]
    source = store(*known, *(prompt(seed, 300) for seed in range(5)))
    drafters = [Datastore(DatastoreSettings(shortest=1, answers=answers))]
    drafters += [PromptLookup(PromptLookupSettings())] if mixed else []
    engine = Engine({"main": backend()}, max_batch=2)
    for _ in range(2):  # with past answers, the second time
        drafted = decode(
            engine,
            *(
                request(
                    f"r{at}",
                    {**views, "with_context": prompt(at, 40)},
                    drafters=drafters,
                    resources={"datastore": source},
                    **settings,
                )
                for at in range(4)
            ),
        )
        for name, result in plain.items():
            assert drafted[name].tokens == result.tokens
    assert sum(result.stats.accepted for result in drafted.values()) > 20


def test_past_answers_are_drafted_from_when_their_request_is_over():
    engine = Engine({"main": backend()})
    drafter = Datastore(DatastoreSettings(answers="session"))
    source = store([96, 96, 96])

    def ask(name: str, kind: Datastore):
        settings = {"drafters": [kind], "resources": {"datastore": source}, "max_new_tokens": 40}
        result = decode(engine, request(name, {"with_context": prompt(5, 30)}, **settings))[name]
        gc.collect()
        return result

    first, second, other = ask("1", drafter), ask("2", drafter), ask("3", Datastore(DatastoreSettings()))
    assert first.tokens == second.tokens == other.tokens
    assert second.stats.steps < first.stats.steps / 2
    assert other.stats.steps >= first.stats.steps, "without the setting, nothing is kept"


def test_answers_in_a_file_are_there_for_the_next_process(tmp_path):
    source = store([96, 96], folder=tmp_path)
    drafting = session(source, [1], answers="file")
    accept(drafting, [10, 11, 12, 13])
    del drafting
    gc.collect()
    assert [path.name for path in tmp_path.iterdir()] == ["answers-tiny.txt"]
    again = session(store([96, 96], folder=tmp_path), [10, 11], answers="file")
    assert again.propose(4).tokens == [12, 13]
