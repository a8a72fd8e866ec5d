"""Readers of data sets: the published layouts, mistakes with their lines, and what a run takes from them."""

from __future__ import annotations

import csv
import json

import pytest

from ragdecode.errors import InputError
from ragdecode.evaluation.dataset import Mistake, read_dataset
from ragdecode.spec.dataset import DatasetSpec


def lines(file, *rows):
    file.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(file)


def spec(name, settings, **more):
    return DatasetSpec.model_validate({"read": {name: settings}, **more})


def read(name, settings, **more):
    return read_dataset(spec(name, settings, **more))


QA = {
    "id": "a",
    "question": "Where is Tollin?",
    "golden_answers": ["north", "the north"],
    "contexts": [
        {"id": "d1", "title": "Tollin", "text": "Tollin lies in the north.", "is_gold": True},
        {"id": "d2", "title": "Arl", "text": "Arl lies in the south.", "is_gold": False},
    ],
    "metadata": {"parametric_answers": ["south"], "original_context": "Tollin lies in the south."},
}


def test_flashrag_rows_with_contexts(tmp_path):
    (one,) = read("flashrag", {"path": lines(tmp_path / "d.jsonl", QA)})
    assert (one.id, one.question, one.references) == ("a", "Where is Tollin?", ("north", "the north"))
    assert [(passage.id, passage.source, passage.rank) for passage in one.passages] == [
        ("d1", "Tollin", 1),
        ("d2", "Arl", 2),
    ]
    assert one.relevant == {"d1": 1}
    assert one.metadata["original_context"]


def test_columns_may_lie_in_mappings(tmp_path):
    columns = {"references": "metadata.parametric_answers", "passages": "metadata.original_context"}
    (one,) = read(
        "jsonl", {"path": lines(tmp_path / "d.jsonl", QA), "columns": columns | {"originals": "golden_answers"}}
    )
    assert one.references == ("south",)
    assert [passage.text for passage in one.passages] == ["Tollin lies in the south."]
    assert one.originals == ("north", "the north")


def test_closed_book_rows_have_no_passages(tmp_path):
    (one,) = read("flashrag", {"path": lines(tmp_path / "d.jsonl", {"question": "Why?", "golden_answers": ["so"]})})
    assert (one.id, one.passages) == ("1", None)


def test_wrong_lines_are_all_named(tmp_path):
    file = lines(
        tmp_path / "d.jsonl", QA, "nope", {"question": ""}, QA, {"id": "b", "question": "q", "golden_answers": 3}
    )
    with pytest.raises(InputError) as told:
        read("flashrag", {"path": file})
    for part in (f"{file}:2: not JSON", f"{file}:3: 'question'", "'a': this id is there twice", f"{file}:5: 'golden"):
        assert part in str(told.value)
    with pytest.raises(InputError, match="has no examples"):
        read("flashrag", {"path": lines(tmp_path / "empty.jsonl", "")})


def test_a_run_takes_some(tmp_path):
    rows = [{"id": str(n), "question": f"q{n}", "contexts": ["a", "b", "c"]} for n in range(20)]
    settings = {"path": lines(tmp_path / "d.jsonl", *rows)}
    assert [one.id for one in read("jsonl", settings, limit=3)] == ["0", "1", "2"]
    shuffled = [one.id for one in read("jsonl", settings, shuffle=1, limit=5)]
    assert shuffled == [one.id for one in read("jsonl", settings, shuffle=1)][:5] != ["0", "1", "2", "3", "4"]
    assert len(read_dataset(spec("jsonl", settings, limit=9), 4)) == 4
    assert [passage.text for passage in read("jsonl", settings, top_k=2)[0].passages] == ["a", "b"]
    assert read("jsonl", settings, evidence="none")[0].passages == ()


def test_csv_cells(tmp_path):
    file = tmp_path / "d.csv"
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([["question", "answer", "context"], ["Who,\nand why?", "Ann|Bo", "Ann did."]])
    (one,) = read("csv", {"path": str(file), "separator": "|"})
    assert (one.question, one.references, one.passages[0].text) == ("Who,\nand why?", ("Ann", "Bo"), "Ann did.")
    assert read("csv", {"path": str(file)})[0].references == ("Ann|Bo",)
    file.write_text("question,answer\na,b\nc\n")
    with pytest.raises(InputError, match=r"d\.csv:3: expected as many cells"):
        read("csv", {"path": str(file)})
    file.write_text("frage,answer\na,b\n")
    with pytest.raises(InputError, match="no column 'question'; there are frage, answer"):
        read("csv", {"path": str(file)})


def test_beir_folders(tmp_path):
    lines(tmp_path / "corpus.jsonl", *({"_id": f"d{n}", "title": f"T{n}", "text": f"text {n}"} for n in range(3)))
    lines(tmp_path / "queries.jsonl", {"_id": "q", "text": "what?"}, {"_id": "unjudged", "text": "no"})
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\td0\t1\nq\td2\t2\nq\td1\t0\n")
    (one,) = read("beir", {"path": str(tmp_path)})
    assert (one.id, one.passages, one.relevant) == ("q", None, {"d0": 1, "d2": 2, "d1": 0})
    (one,) = read("beir", {"path": str(tmp_path), "passages": "relevant"})
    assert [(passage.id, passage.source) for passage in one.passages] == [("d2", "T2"), ("d0", "T0")]


def squad(tmp_path):
    qas = [{"id": "x", "question": "Who?", "answers": [{"text": "Ann", "answer_start": 0}] * 2}]
    more = [{"id": "y", "question": "When?", "answers": [], "is_impossible": True}]
    data = [{"title": "T", "paragraphs": [{"context": "Ann.", "qas": qas}, {"context": "Bo.", "qas": more}]}]
    file = tmp_path / "s.json"
    file.write_text(json.dumps({"version": "2.0", "data": data}))
    return str(file)


def test_squad(tmp_path):
    file = squad(tmp_path)
    (one,) = read("squad", {"path": file})
    assert (one.id, one.references, [passage.text for passage in one.passages]) == ("x", ("Ann",), ["Ann."])
    both = read("squad", {"path": file, "distractors": True, "unanswerable": True})
    assert [(one.id, [passage.text for passage in one.passages]) for one in both] == [
        ("x", ["Ann.", "Bo."]), ("y", ["Bo.", "Ann."]),
    ]  # fmt: skip
    assert [one.relevant for one in both] == [{"0-0": 1}, {"0-1": 1}]
    (tmp_path / "t.json").write_text('{"data": [{"paragraphs": [{}]}]}')
    with pytest.raises(InputError, match="not in SQuAD's layout"):
        read("squad", {"path": str(tmp_path / "t.json")})


def test_ragtruth_as_published(tmp_path):
    text = "\n\npassage 1:First one.\n\npassage 2:Second one: with a colon.\n\n"
    lines(
        tmp_path / "source_info.jsonl",
        {"source_id": "1", "task_type": "QA", "source_info": {"question": "Why?", "passages": text}},
        {"source_id": "2", "task_type": "Summary", "source_info": "An article."},
        {"source_id": "3", "task_type": "QA", "source_info": {"question": "Train?", "passages": "passage 1: x"}},
    )
    lines(
        tmp_path / "response.jsonl",
        {"id": "0", "source_id": "1", "split": "test", "labels": [{"start": 0}]},
        {"id": "1", "source_id": "1", "split": "test", "labels": []},
        {"id": "2", "source_id": "2", "split": "test", "labels": []},
        {"id": "3", "source_id": "3", "split": "train", "labels": []},
    )
    (one,) = read("ragtruth", {"path": str(tmp_path)})
    assert [passage.text for passage in one.passages] == ["First one.", "Second one: with a colon."]
    assert one.metadata == {"responses": 2, "hallucinated": 1}
    assert [one.id for one in read("ragtruth", {"path": str(tmp_path), "task": "all", "split": "all"})] == [
        "1",
        "2",
        "3",
    ]


def test_ragtruth_labelled_answers(tmp_path):
    source = {"question": "Why?", "passages": [{"id": "p", "title": "", "text": "So."}]}
    rows = [{"id": str(n), "task": "qa", "source": source, "hallucinated": n == 1, "labels": []} for n in range(3)]
    (one,) = read("ragtruth", {"path": lines(tmp_path / "d.jsonl", *rows)})
    assert (one.id, one.question, one.metadata) == ("0", "Why?", {"responses": 3, "hallucinated": 1})


def test_documents(tmp_path):
    lines(tmp_path / "documents.jsonl", {"id": "d", "title": "T", "text": "Long."})
    question = {"id": "q", "question": "What?", "golden_answers": ["x"], "contexts": [{"id": "d", "text": None}]}
    lines(tmp_path / "questions.jsonl", question)
    (one,) = read("documents", {"path": str(tmp_path)})
    assert (one.passages[0].text, one.relevant) == ("Long.", {"d": 1})
    lines(tmp_path / "questions.jsonl", question | {"contexts": [{"id": "e"}]})
    with pytest.raises(InputError, match=r"questions.jsonl:1: there is no document 'e'"):
        read("documents", {"path": str(tmp_path)})


def test_memotrap_in_both_layouts(tmp_path):
    prompt = 'Write a quote that ends in the word "heavy": Absence makes the heart grow'
    row = {"id": "1", "question": prompt, "metadata": {"classes": [" heavy.", " fonder."], "answer_index": 0}}
    for name in ("a.jsonl", "a.csv"):
        file = tmp_path / name
        if file.suffix == ".csv":
            with file.open("w", newline="") as stream:
                csv.writer(stream).writerows(
                    [["prompt", "classes", "answer_index"], [prompt, "[' heavy.', ' fonder.']", 0]]
                )
        else:
            lines(file, row)
        (one,) = read("memotrap", {"path": str(file)})
        assert (one.options, one.correct, one.originals) == ((" heavy.", " fonder."), 0, (" fonder.",))
        assert one.prompts == {"with_context": prompt, "without_context": "Absence makes the heart grow"}
    lines(tmp_path / "b.jsonl", row | {"metadata": {"classes": "__import__('os')", "answer_index": 0}})
    with pytest.raises(InputError, match="not in MemoTrap's layout"):
        read("memotrap", {"path": str(tmp_path / "b.jsonl")})


@pytest.mark.filterwarnings("ignore")
def test_hugging_face_data_sets_on_disk(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    rows = [{"id": "x", "question": "Who?", "context": "Ann.", "answers": {"text": ["Ann"], "answer_start": [0]}}]
    datasets.DatasetDict({"validation": datasets.Dataset.from_list(rows)}).save_to_disk(str(tmp_path / "set"))
    columns = {"references": "answers.text", "passages": "context"}
    settings = {"path": str(tmp_path / "set"), "columns": columns}
    (one,) = read("huggingface", settings)
    assert (one.references, one.passages[0].text) == (("Ann",), "Ann.")
    reader = spec("huggingface", settings).read.build()
    assert reader.fingerprint() == reader.fingerprint()
    with pytest.raises(InputError, match="no split 'test'; there are validation"):
        read("huggingface", settings | {"split": "test"})


def test_a_fingerprint_follows_the_content(tmp_path):
    file = lines(tmp_path / "d.jsonl", QA)
    reader = spec("jsonl", {"path": file}).read.build()
    before = reader.fingerprint()
    lines(tmp_path / "d.jsonl", QA | {"question": "Other?"})
    assert reader.fingerprint() != before
    assert not any(isinstance(one, Mistake) for one in reader.read())
