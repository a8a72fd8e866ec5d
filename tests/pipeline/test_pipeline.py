"""Whole pipelines over a tiny random model."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import jsonschema
import pytest

from ragdecode.decoding.monitor import Monitor, MonitorSession, Retrieve
from ragdecode.decoding.request import TARGET
from ragdecode.errors import InputError, RunError
from ragdecode.pipeline.passage import Passage
from ragdecode.pipeline.pipeline import Pipeline
from ragdecode.pipeline.question import Question
from ragdecode.pipeline.request import DecodeRequest
from ragdecode.pipeline.turn import Turn
from ragdecode.spec.settings import NoSettings
from ragdecode.spec.view_plan import step_cost
from tests.pipeline import tiny_app
from tests.pipeline.test_answering import ANSWER

EVIDENCE = ["The bridge has 12 arches.", "It was built in 1889."]
QUESTIONS = ["How many arches has the bridge?", "Who lives in the tower?", "Is the cheese blue?", "Why?"]


def test_importing_the_package_loads_no_framework():
    code = (
        "import sys, ragdecode; from ragdecode import Pipeline; "
        "print([name for name in ('torch', 'transformers', 'langchain_core', 'faiss', 'bm25s') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        __import__("ragdecode").Nothing  # noqa: B018


@pytest.mark.parametrize("decode", [{}, {"rule": {"cad": {"alpha": 1.0}}, "draft": ["prompt_lookup"]}])
def test_events_come_in_order_and_pieces_join_to_the_answer(make, decode):
    pipeline = make(decode, search=True)
    events = list(pipeline.stream(QUESTIONS[0]))
    kinds = [event.kind for event in events]
    assert kinds[0] == "passages"
    assert kinds[-1] == "done"
    assert set(kinds[1:-1]) <= {"token", "sentence"}
    answer = events[-1].answer
    assert "".join(event.text for event in events if event.kind == "token") == answer.answer
    assert events[0].passages == answer.passages
    assert [event.sentence for event in events if event.kind == "sentence"] == list(answer.sentences)
    assert answer.stats.new_tokens == len(answer.token_ids) == len(answer.records) == 8
    assert set(answer.records[0].views) == {TARGET, *(["without_context"] if decode else [])}
    jsonschema.validate(answer.to_json(), ANSWER)


def test_retrieval_finds_the_evidence_and_the_prompt_shows_it(make):
    answer = make(search=True).ask(QUESTIONS[0])
    assert answer.passages[0].source == "bridge.md"
    assert [passage.rank for passage in answer.passages] == [1, 2]
    assert "12 arches" in answer.prompts[TARGET]
    assert answer.seconds.load > 0
    assert answer.pipeline == "p0"
    assert answer.headline == "bm25 % 2 >> decode[plain]"


def test_loading_is_counted_once(make):
    pipeline = make(search=True)
    first, second = pipeline.ask(QUESTIONS[0]), pipeline.ask(QUESTIONS[0])
    assert first.seconds.load > second.seconds.load == 0
    assert first.answer == second.answer


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("draft", [[], ["prompt_lookup"]])
def test_a_batch_answers_as_each_question_alone(make, temperature, draft):
    decode = {"rule": ["cad"], "draft": draft, "sampling": {"temperature": temperature, "seed": 3}}
    pipeline = make(decode, search=True, engine={"dtype": "float64", "linear": "plain", "max_batch": 3})
    together = pipeline.batch([*QUESTIONS, QUESTIONS[0]])
    assert [answer.question for answer in together] == [*QUESTIONS, QUESTIONS[0]]
    for answer in together:
        alone = pipeline.ask(answer.question)
        assert answer.token_ids == alone.token_ids
        assert [record.logprob for record in answer.records] == pytest.approx([r.logprob for r in alone.records])
        assert answer.passages == alone.passages
    assert len({answer.token_ids for answer in together[:4]}) > 1


def test_drafting_changes_no_token(make):
    plain = make({"rule": ["cad"], "max_new_tokens": 24})
    drafted = make({"rule": ["cad"], "max_new_tokens": 24, "draft": ["prompt_lookup"]})
    for question in QUESTIONS:
        assert plain.ask(question, passages=EVIDENCE).token_ids == drafted.ask(question, passages=EVIDENCE).token_ids


def test_the_undrafted_twin_shares_models_and_answers_alike(make):
    pipeline = make({"rule": ["cad"], "draft": ["prompt_lookup"], "max_new_tokens": 24})
    twin = pipeline.undrafted()
    drafted, plain = pipeline.ask("Why?", passages=EVIDENCE), twin.ask("Why?", passages=EVIDENCE)
    assert drafted.token_ids == plain.token_ids
    assert (drafted.stats.drafted > 0, plain.stats.drafted) == (True, 0)
    assert plain.seconds.load == 0
    assert twin.headline == "decode[cad]"
    assert (pipeline.headline, twin.model) == ("decode[cad + prompt_lookup]", pipeline.model)


def test_a_line_can_be_prepared_and_run_alone(make):
    pipeline = make()
    line = DecodeRequest("a", prompts={TARGET: "abc"})
    (decoded,) = pipeline.decode([line])
    events = list(pipeline.run(pipeline.prepare(line, alternatives=2).request))
    assert events[-1].result.tokens == decoded.result.tokens
    assert len(events[-1].result.records[0].alternatives) == 2


def test_without_passages_the_contrast_is_dropped_and_noted(make):
    contrast, plain = make({"rule": ["cad"]}), make()
    answer = contrast.ask("Why?", passages=[])
    assert answer.token_ids == plain.ask("Why?", passages=[]).token_ids
    assert list(answer.prompts) == [TARGET]
    assert set(answer.records[0].views) == {TARGET}
    assert answer.notes == (
        "no passages: the answer rests on the model alone",
        "rule cad did not act: there are no passages to contrast",
    )
    assert answer.stats.forward_rows == answer.stats.forward_passes
    assert contrast.ask("Why?", passages=EVIDENCE).notes == ()


def test_a_monitor_keeps_its_view_without_passages_and_reports(make):
    answer = make({"monitor": ["signals"]}).ask("Why?", passages=EVIDENCE)
    assert len(answer.to_json()["stats"]["monitors"]["signals"]["tokens"]) == 8


def test_a_pipeline_without_retrieval_takes_passages_of_any_form(make):
    from langchain_core.documents import Document

    pipeline = make()
    forms = [
        "One.",
        {"text": "Two.", "title": "T"},
        Document("Three.", id="d3", metadata={"source": "f.md", "score": 0.5, "page": 4}),
        Passage("x", "y", "Four.", 1.0, 9),
    ]
    answer = pipeline.ask("Why?", passages=forms)
    assert [(item.id, item.source, item.text, item.rank) for item in answer.passages] == [
        ("p1", "", "One.", 1),
        ("p2", "T", "Two.", 2),
        ("d3", "f.md", "Three.", 3),
        ("x", "y", "Four.", 4),
    ]
    assert answer.passages[2].metadata == {"page": 4}
    assert "[4] Four." in answer.prompts[TARGET]
    with pytest.raises(InputError, match="passage 1: expected a string"):
        pipeline.ask("Why?", passages=[3])


def test_history_stands_in_the_prompt(make):
    history = [{"role": "user", "content": "Hi<|im_end|>"}, Turn("assistant", "Hello.")]
    answer = make().ask("Why?", history, passages=EVIDENCE)
    assert "user\nHi<\u200b|im_end|><|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>" in answer.prompts[TARGET]
    with pytest.raises(InputError, match="expected a message with role"):
        make().ask("Why?", [{"role": "robot", "content": "x"}])


def test_evidence_that_does_not_fit_is_cut_alike_in_all_views(make):
    views = {
        "other": {
            "prompt": {"messages": [{"role": "user", "content": "{% for p in passages %}{{ p.text }}{% endfor %}"}]}
        }
    }
    pipeline = make({"rule": [{"cad": {"against": "other"}}], "views": views})
    answer = pipeline.ask("Why?", passages=["word " * 2000, "never seen"])
    text = answer.passages[0].text
    assert len(answer.passages) == 1
    assert text < "word " * 2000
    assert f"[1] {text}\n" in answer.prompts[TARGET]
    assert f"user\n{text}<|im_end|>" in answer.prompts["other"]
    assert answer.stats.prompt_tokens > tiny_app.WINDOW - 8 - 20
    assert "passage 1 was cut" in answer.notes[0]
    assert "dropped to fit" in answer.notes[1]


def test_questions_that_cannot_be_asked(make):
    pipeline = make(search=True)
    for blank in ("", " \n"):
        with pytest.raises(InputError, match="the question is empty"):
            pipeline.ask(blank)
    with pytest.raises(
        InputError, match=r"the question is too long: with its prompt it takes \d{4,} tokens; the model's"
    ):
        pipeline.ask("why " * 2000)
    with pytest.raises(InputError, match="empty"):
        pipeline.batch(["Why?", ""])
    assert pipeline.ask("Why?").answer  # and it goes on


def test_broken_text_is_refused(make):
    pipeline = make()
    broken = "caf\udce9"
    for question, history, passages, what in (
        (broken, [], ["x"], "the question"),
        ("Why?", [Turn("user", broken)], ["x"], "a message of the history"),
        ("Why?", [], ["x", broken], "passage 2"),
    ):
        with pytest.raises(InputError, match=f"{what} is not valid text: half of a surrogate pair at character 3"):
            pipeline.ask(question, history, passages=passages)


def test_no_room_for_an_answer_is_refused(make):
    with pytest.raises(InputError, match="window of 1024 less max_new_tokens 5000 leaves 0"):
        make({"max_new_tokens": 5000}).ask("Why?", passages=EVIDENCE)


@pytest.mark.parametrize("rerank", [[], [{"rerank": {"by": "query_likelihood", "top_k": 1}}]])
def test_threads_share_a_pipeline(make, rerank):
    retrieve = [{"bm25": {"top_k": 2}}, *rerank]
    pipeline = make({"rule": ["cad"], "draft": ["prompt_lookup"]}, search=True, retrieve=retrieve)
    expected = {question: pipeline.ask(question).token_ids for question in QUESTIONS}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(pipeline.ask, QUESTIONS * 3))
    assert [answer.token_ids for answer in answers] == [expected[question] for question in QUESTIONS * 3]


def test_the_work_stays_within_what_explain_promises(make):
    pipeline = make({"rule": ["cad"], "draft": ["prompt_lookup"], "max_new_tokens": 16, "max_draft_nodes": 4})
    cost = step_cost(pipeline.loaded.spec)
    backend = pipeline._models.backends["main"]
    forward, passes = backend.forward, []

    def counting(segments, **kwargs):
        passes.append([len(segment.tokens) for segment in segments])
        return forward(segments, **kwargs)

    backend.forward = counting
    stats = pipeline.ask("Why?", passages=EVIDENCE).stats
    assert (len(passes), sum(map(len, passes))) == (stats.forward_passes, stats.forward_rows)
    assert all(len(rows) <= cost.rows == 2 for rows in passes)
    assert all(max(rows) <= cost.nodes + 4 for rows in passes[1:])  # and what the last step accepted
    assert len(passes) <= stats.new_tokens + 1


def test_a_monitor_may_retrieve_again(make):
    class Again(Monitor):
        part_name = "again"

        def start(self, request):
            return Session()

    class Session(MonitorSession):
        seen = 0

        def observe(self, token):
            self.seen += 1
            return Retrieve("the cheese of Morvan") if self.seen == 3 else None

        def rewind(self, length):
            pass

        def record(self):
            return {"seen": self.seen, "least": float("-inf")}

    pipeline = make(search=True)
    pipeline._parts = replace(pipeline._parts, monitors=[Again(NoSettings())])
    events = list(pipeline.stream("Who built the bridge of Tollin?"))
    answer = events[-1].answer
    assert [event.action for event in events if event.kind == "action"] == ["retrieve"]
    assert answer.passages[0].source == "cheese.md"
    assert "bridge.md" in {passage.source for passage in answer.passages}
    assert [passage.rank for passage in answer.passages] == list(range(1, len(answer.passages) + 1))
    assert "hay and thunder" in answer.prompts[TARGET]
    assert "retrieved again for 'the cheese of Morvan'" in answer.notes
    assert answer.to_json()["stats"]["monitors"]["again"]["least"] is None  # JSON knows no infinity
    again = pipeline.ask("Who built the bridge of Tollin?", passages=answer.passages)
    assert len(answer.token_ids) == len(again.token_ids) == 8


def test_stop_strings_and_streaming_agree(make):
    plain = make({"max_new_tokens": 16})
    whole = plain.ask("Why?", passages=EVIDENCE).answer
    stop = whole[5:8]
    events = list(make({"max_new_tokens": 16, "stop": [stop]}).stream("Why?", passages=EVIDENCE))
    shown = "".join(event.text for event in events if event.kind == "token")
    assert shown == events[-1].answer.answer == whole[: whole.index(stop)]
    assert events[-1].answer.finish_reason == "stop"


def test_a_stream_that_is_left_frees_its_slots(make):
    pipeline = make({"max_new_tokens": 64})
    expected = pipeline.ask("Why?", passages=EVIDENCE).answer
    for _ in range(10):  # more than fit into the engine at once
        stream = pipeline.stream("Why?", passages=EVIDENCE)
        assert [next(stream).kind, next(stream).kind] == ["passages", "token"]
        stream.close()
    assert pipeline.ask("Why?", passages=EVIDENCE).answer == expected


def test_an_interrupt_in_the_model_leaves_a_usable_pipeline(make, monkeypatch):
    pipeline = make({"rule": ["cad"], "draft": ["prompt_lookup"]})
    expected = pipeline.ask("Why?", passages=EVIDENCE).token_ids
    backend = pipeline._models.backends["main"]
    forward, calls = backend.forward, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return forward(*args, **kwargs)

    monkeypatch.setattr(backend, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pipeline.batch([Question.of("Why?", passages=EVIDENCE), Question.of("How?", passages=EVIDENCE)])
    assert backend._rows == {}
    assert pipeline.ask("Why?", passages=EVIDENCE).token_ids == expected


def test_request_lines_are_decoded_in_order(make):
    pipeline = make({"rule": ["cad"]}, engine={"dtype": "float64", "max_batch": 2})
    asked = pipeline.ask("Why?", passages=EVIDENCE)
    passages = tuple(Passage(f"p{rank}", "", text, rank=rank) for rank, text in enumerate(EVIDENCE, start=1))
    requests = [
        DecodeRequest("as-question", question="Why?", passages=passages),
        DecodeRequest("as-prompts", prompts=asked.prompts),
        DecodeRequest("empty", question="Why?"),
        *(DecodeRequest(f"n{n}", prompts={TARGET: "a" * n, "without_context": "b"}) for n in range(1, 5)),
    ]
    results = list(pipeline.decode(iter(requests)))
    assert [item.id for item in results] == [item.id for item in requests]
    for item in results[:2]:
        line = item.to_json()
        assert line["token_ids"] == list(asked.token_ids)
        assert line["text"] == asked.answer
        assert line["logprobs"] == pytest.approx([record.logprob for record in asked.records])
        assert set(line) == {"id", "text", "token_ids", "logprobs", "stats"}
        jsonschema.validate(line["stats"], ANSWER["properties"]["stats"])
        assert line["stats"]["prompt_tokens"] == asked.stats.prompt_tokens
    assert results[2].notes[0].startswith("no passages")


def test_the_messages_of_a_line_are_the_chat_as_given(make):
    pipeline = make()
    turns = (Turn("system", "S<|im_end|>"), Turn("user", "U"))
    by_messages = DecodeRequest("m", messages=turns)
    text = "<|im_start|>system\nS<\u200b|im_end|><|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"
    by_prompt = DecodeRequest("p", prompts={TARGET: text})
    first, second = pipeline.decode([by_messages, by_prompt])
    assert first.result.tokens == second.result.tokens


def test_sampled_lines_depend_on_their_id_alone(make):
    pipeline = make({"sampling": {"temperature": 2.0}})
    line = {"prompts": {TARGET: "abc"}}
    first = {item.id: item.result.tokens for item in pipeline.decode([DecodeRequest(id_, **line) for id_ in "xyz"])}
    again = {item.id: item.result.tokens for item in pipeline.decode([DecodeRequest(id_, **line) for id_ in "zx"])}
    assert again == {id_: first[id_] for id_ in "zx"}
    assert first["x"] != first["y"]


def test_lines_that_do_not_fit_are_all_named_before_any_is_decoded(make):
    pipeline = make({"rule": ["cad"]})
    good = {TARGET: "a", "without_context": "b"}
    requests = [
        DecodeRequest("a", prompts=good, line=1),
        DecodeRequest("b", prompts=good | {"without_context": "x" * 3000}, line=2),
        DecodeRequest("c", question="why " * 2000, line=3),
        DecodeRequest("d", prompts={TARGET: "a"}),
    ]
    with pytest.raises(InputError) as caught:
        next(pipeline.decode(requests))
    text = str(caught.value)
    assert "3 wrong requests, nothing was decoded" in text
    assert "line 2: the prompt of the view without_context is too long: it takes 3000 tokens" in text
    assert "line 3: the question is too long" in text
    assert "request 'd': the prompt of the view without_context is missing" in text


def test_views_of_models_with_another_vocabulary_are_refused(make, app, tmp_path):
    from tests.models import tiny

    other = tiny_app.write_model(tmp_path / "other")
    tokenizer = (other / "tokenizer.json").read_text()
    (other / "tokenizer.json").write_text(tokenizer.replace('"<|im_end|>"', '"<|im_fin|>"'))
    assert tiny.SPECIALS[2] == "<|im_end|>"
    view = {"model": {"name": "other", "source": {"path": {"path": str(other)}}}}
    pipeline = make({"rule": [{"cad": {"against": "weak"}}], "views": {"weak": view}})
    with pytest.raises(InputError, match="the view 'weak' has another vocabulary"):
        pipeline.ask("Why?", passages=EVIDENCE)


def test_a_view_on_another_model_with_the_same_vocabulary_counts(make, tmp_path):
    weak = {"model": {"name": "weak", "source": {"path": {"path": str(tiny_app.write_model(tmp_path / "weak", 7))}}}}
    pipeline = make({"rule": [{"cad": {"against": "weak"}}], "views": {"weak": weak}})
    answer = pipeline.ask("Why?", passages=EVIDENCE)
    assert answer.prompts["weak"] == answer.prompts[TARGET]
    assert answer.records[0].views["weak"] != answer.records[0].views[TARGET]
    assert answer.token_ids != make().ask("Why?", passages=EVIDENCE).token_ids
    assert not pipeline.ask("Why?", passages=[]).notes[1:]  # another model: the contrast means something


@pytest.mark.parametrize("backend", ["llama", "transformers"])
def test_backends_agree(make, backend):
    engine = {"dtype": "float64", "linear": "plain"}
    expected = make(engine=engine).ask("Why?", passages=EVIDENCE).token_ids
    assert make(engine=engine | {"backend": backend}).ask("Why?", passages=EVIDENCE).token_ids == expected


def test_packed_layers_need_the_backend_that_has_them(make):
    pipeline = make(engine={"backend": "transformers", "linear": "packed"})
    with pytest.raises(InputError, match="packed needs the llama backend, and engine.backend is transformers"):
        pipeline.ask("Why?", passages=EVIDENCE)


def test_other_documents_get_an_index_in_the_cache_folder(make, app, tmp_path):
    docs = tmp_path / "mine"
    docs.mkdir()
    (docs / "a.md").write_text("The comet of Arl returns in 2090.")
    make(search=True)
    before = {path.name for path in app.iterdir()}
    with Pipeline.load(app / "pipelines" / "p0.yaml", docs=docs) as pipeline:
        answer = pipeline.ask("When does the comet return?")
    assert [passage.source for passage in answer.passages] == ["a.md"]
    assert {path.name for path in app.iterdir()} == before
    assert len(list((tmp_path / "cache" / "indexes").iterdir())) == 1
    with pytest.raises(InputError, match="no such file or folder"):
        Pipeline.load(app / "pipelines" / "p0.yaml", docs=tmp_path / "none")
    file = tiny_app.write_pipeline(app, "bare")
    with pytest.raises(InputError, match="searches nothing"):
        Pipeline.load(file, docs=docs)


def test_a_changed_document_is_found_by_the_next_pipeline(make, app):
    make(search=True).ask("Why?")
    (app / "docs" / "cheese.md").write_text("The cheese of Morvan turned green in spring.")
    assert "green" in make(search=True).ask("Which cheese is green in spring?").passages[0].text


def test_a_damaged_index_is_built_anew_and_the_reason_is_told(make, app, caplog):
    expected = make(search=True).ask("Why?").passages
    manifest = next((app / ".ragdecode" / "indexes").glob("*/manifest.json"))
    manifest.write_text(manifest.read_text()[:40])
    with Pipeline.load(app / "pipelines" / "p0.yaml") as pipeline:
        assert pipeline.ask("Why?").passages == expected
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "was built anew: " in told
    assert "manifest.json" in told


def test_reranking_uses_the_pipelines_own_model(make):
    retrieve = [{"bm25": {"top_k": 3}}, {"rerank": {"by": "query_likelihood", "top_k": 2}}]
    pipeline = make(search=True, retrieve=retrieve)
    first, second = pipeline.batch(["Where is Tollin?", "What smells of hay?"])
    assert len(first.passages) == 2
    assert first.passages[0].score < 0  # a mean log-probability
    assert first.passages[0].score >= first.passages[1].score
    assert second.passages == pipeline.ask("What smells of hay?").passages


def test_an_empty_corpus_is_the_users_mistake(make, app):
    for file in (app / "docs").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="the corpus is empty"):
        make(search=True).ask("Why?")


def test_missing_weights_say_what_to_type(make):
    pipeline = make(model={"name": "far", "source": {"hub": {"repo": "some/where"}}})
    with pytest.raises(InputError) as caught:
        pipeline.ask("Why?", passages=EVIDENCE)
    assert str(caught.value) == "the weights of far are not on this machine\n  hint: ragdecode models pull far"


def test_a_closed_pipeline_says_so(make):
    pipeline = make()
    with pipeline:
        pipeline.ask("Why?", passages=EVIDENCE)
    with pytest.raises(RunError, match="is closed"):
        pipeline.ask("Why?")
