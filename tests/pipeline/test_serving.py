"""What a program that goes on running asks of a pipeline: fresh documents, settings for one answer, a stop."""

from __future__ import annotations

import pytest

from ragdecode.errors import InputError
from ragdecode.pipeline.events import DoneEvent
from ragdecode.pipeline.question import AnswerSettings, Question

EVIDENCE = ["The bridge has 12 arches.", "It was built in 1889."]
GREEN = "The cheese of Morvan turned green in spring."


def answer_of(events):
    return next(event.answer for event in events if isinstance(event, DoneEvent))


def test_a_refreshed_index_answers_while_it_is_built_and_is_new_afterwards(make, app):
    pipeline = make(search=True)
    pipeline.open()
    (app / "docs" / "cheese.md").write_text(GREEN)
    (app / "docs" / "bridge.md").unlink()
    meanwhile = []
    report = pipeline.refresh(lambda *_: meanwhile.append(pipeline.ask("Who built the bridge?").passages))
    assert (report.changed, report.removed) == (1, 1)
    assert meanwhile
    assert all("arches" in found[0].text for found in meanwhile[:-1])
    assert pipeline.ask("Which cheese is green in spring?").passages[0].text == GREEN
    assert not any("arches" in one.text for one in pipeline.ask("Who built the bridge?").passages)


def test_without_an_index_there_is_nothing_to_refresh(make):
    with pytest.raises(InputError, match="has no index"):
        make().refresh()


def test_a_stream_ends_without_a_record_once_it_is_told_to_stop(make):
    pipeline = make({"max_new_tokens": 64})
    events = []
    for event in pipeline.stream("Why?", passages=EVIDENCE, stop=lambda: len(events) > 5):
        events.append(event)
    assert 5 < len(events) < 20
    assert not any(isinstance(event, DoneEvent) for event in events)
    assert len(pipeline.ask("Why?", passages=EVIDENCE).token_ids) == 64


def test_settings_hold_for_one_answer_alone(make):
    pipeline = make({"max_new_tokens": 24})
    plain = pipeline.ask("Why?", passages=EVIDENCE)

    def ask(**settings):
        return answer_of(pipeline.stream("Why?", passages=EVIDENCE, settings=AnswerSettings(**settings)))

    assert ask(max_new_tokens=5).token_ids == plain.token_ids[:5]
    assert ask(max_new_tokens=500).token_ids == plain.token_ids
    assert ask(stop=(plain.answer[4:7],)).answer == plain.answer[:4]
    warm = [ask(temperature=1.5, seed=seed).token_ids for seed in (3, 3, 4)]
    assert warm[0] == warm[1] != warm[2]
    assert pipeline.ask("Why?", passages=EVIDENCE).token_ids == plain.token_ids
    for wrong in ({"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 2.0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            ask(**wrong)


def test_the_same_question_twice_is_decoded_side_by_side_under_the_same_noise(make):
    pipeline = make({"max_new_tokens": 12, "sampling": {"temperature": 1.5}})
    alone = pipeline.ask("Why?", passages=EVIDENCE)
    first, second = pipeline.batch([Question.of("Why?", passages=EVIDENCE)] * 2)
    assert first.token_ids == second.token_ids == alone.token_ids
    assert first.stats.steps == second.stats.steps == alone.stats.steps
