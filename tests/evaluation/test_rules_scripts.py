"""What the script that compares decoding rules does with data, answers and figures."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from ragdecode.pipeline.pipeline import Pipeline
from tests.pipeline import tiny_app

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def task(script, **settings):
    kept = {"name": "t", "title": "T", "prompt": "grounded", "noisy": "opposite", "items": None, "examples": 9}
    return script("rules_sets").Task(**{**kept, "metrics": {"contains": "right"}, "tokens": 4, **settings})


def items(script, count=3, **settings):
    made = script("rules_sets").Item
    return [made(f"i{at}", f"Who built number {at}?", (f"It was built by Mr. {at}.",), ("Mr",), **settings)
            for at in range(count)]  # fmt: skip


def test_answers_are_graded_by_their_kind(script) -> None:
    sets = script("rules_sets")
    item = sets.Item("a", "q", ("The bridge is old.",), ("a bridge",), ("a tower",))
    found = sets.graded(task(script), item, "The bridge, not a tower")
    assert found == {"contains": 1.0, "exact": 0.0, "f1": 0.5, "belief": 1.0}
    summary = sets.graded(task(script, metrics={"k_precision": "", "rouge_l": ""}), item, "a bridge is new")
    assert summary == {"k_precision": pytest.approx(2 / 3), "rouge_l": pytest.approx(4 / 6), "words": 4.0}


def test_scores_are_graded_by_their_kind(script) -> None:
    sets = script("rules_sets")
    pair = sets.Item("a", "q", (), ("x",), ("y",))
    assert sets.graded_scores(task(script, metrics={"accuracy": ""}), pair, [-1.0, -2.5]) == {
        "accuracy": 1.0,
        "margin": 1.5,
    }
    many = sets.Item("a", "q", (), ("x", "z"), ("y",))
    assert sets.graded_scores(task(script, metrics={"mc1": ""}), many, [-1.0, -3.0, -2.0])["mc3"] == 0.5


def test_a_row_is_run_where_it_can_differ(script) -> None:
    rows = script("rules_rows")
    why = rows.reason_to_skip
    assert why(rows.ROWS["cad 1"], 0, "grounded", True) == rows.SHOWN
    assert why(rows.ROWS["ensemble"], 1, "grounded", True) == rows.ONE
    assert why(rows.ROWS["ensemble"], 3, "grounded", True) is None
    assert why(rows.ROWS["induced"], 1, "brief", True)
    assert why(rows.ROWS["plain, T=1"], 1, "grounded", False)
    assert why(rows.ROWS["dynamic_focus, T=1"], 0, "grounded", False) is None
    assert all(row.against in rows.ROWS for row in rows.ROWS.values())
    sets = rows.ROWS["decore"].overrides({"heads": "mine.yaml"})
    assert json.loads(sets[0].removeprefix("decode.rule=")) == [{"decore": {"heads": "mine.yaml"}}]


def write_squad(folder: Path) -> None:
    rows = []
    for at in range(6):
        texts = [f"gold {at}", f"near {at}", f"answer{at} again", f"far {at}", f"more {at}"]
        shown = [{"title": f"A{at % 2}", "text": text, "is_gold": n == 0} for n, text in enumerate(texts)]
        if at == 5:
            shown = shown[:3]  # too few that lack the answer
        rows.append({"id": f"s{at}", "question": f"q{at}?", "golden_answers": [f"answer{at}"], "contexts": shown})
    folder.mkdir(parents=True)
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


class Words:
    """As many tokens as words."""

    def encode(self, text, special):
        return text.split()

    def decode(self, ids):
        return " ".join(ids)


def test_the_same_questions_with_and_without_gold_and_noise(script, tmp_path) -> None:
    sets = script("rules_sets")
    write_squad(tmp_path / "squad_xquad_en")
    shown = {}
    for key in ((True, 0), (True, 2), (False, 1)):
        shown[key] = sets.squad(*key)(tmp_path, Words(), tmp_path)
    assert [len(one) for one in shown.values()] == [5, 5, 5]
    for gold, noisy, other in zip(*shown.values(), strict=True):
        assert gold.id == noisy.id == other.id
        number = gold.id[1:]
        assert gold.passages == (f"gold {number}",)
        assert set(noisy.passages) == {f"gold {number}", f"near {number}", f"far {number}"}
        assert other.passages == (f"near {number}",)
    assert len({one.passages.index(f"gold {one.id[1:]}") for one in shown[True, 2]}) > 1


def test_sayings_are_split_at_their_instruction(script, tmp_path) -> None:
    sets = script("rules_sets")
    (tmp_path / "memotrap").mkdir()
    rows = [
        ("proverb-ending", 'Write a quote that ends in the word "heavy": Absence makes: the heart grow'),
        ("proverb-translation", "Translate the following.\nEl agua: x\nto:\nStill waters"),
        ("history-of-science-qa", "A or B?"),
    ]
    lines = []
    for kind, text in rows:
        metadata = {"subtask": kind, "memorized_answers": [" b."]}
        lines.append({"id": kind, "question": text, "golden_answers": [" a."], "metadata": metadata})
    (tmp_path / "memotrap" / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = {item.id: item for item in sets.memotrap(tmp_path, Words(), tmp_path)}
    assert set(found) == {"proverb-ending", "proverb-translation"}
    first = found["proverb-ending"]
    assert first.prompts["without_context"] == "Absence makes: the heart grow"
    assert first.prompts["with_context"][: first.instruction].strip() == 'Write a quote that ends in the word "heavy":'
    assert found["proverb-translation"].prompts["without_context"] == "Still waters"


def test_long_articles_are_cut_at_a_sentence(script, monkeypatch) -> None:
    sets = script("rules_sets")
    monkeypatch.setattr(sets, "ARTICLE", 7)
    assert sets._cut("one two. three four. five six seven eight", Words()) == "one two. three four."
    assert sets._cut("one two three", Words()) == "one two three"
    assert sets._cut("a b c d e f g h", Words()) == "a b c d e f g"


def test_only_examples_that_every_row_has_are_compared(script) -> None:
    tables = script("rules_tables")

    def row(item, name, score):
        return {"item": item, "row": name, "prompt_tokens": 9, "grades": {"contains": score, "exact": 0, "belief": 0}}

    rows = [row(item, "plain", item == "a") for item in "abc"]
    rows += [row(item, "acd", 1) for item in "cba"][:2]
    rows += [row("a", "cad 1", 1)]  # too few to count
    cells = tables.complete(rows)
    assert {name: [one["item"] for one in own] for name, own in cells.items()} == {
        "plain": ["b", "c"],
        "acd": ["b", "c"],
    }
    text = tables.quality(script("rules_sets").TASKS["conflict"], cells)
    assert "| `acd` | 2 |" in text
    assert "+100.0 (+100.0 to +100.0) *" in text  # paired, and beyond chance
    assert tables.complete([]) == {}
    assert tables.tables(Path("nowhere")) == "Nothing is measured yet.\n"


def test_speeds_are_ratios_on_the_same_example(script) -> None:
    def row(item, name, seconds, rows):
        return {"item": item, "row": name, "seconds": seconds, "rows_a_pass": rows, "passes_a_token": 1}

    rows = [row("a", "plain", 0.02, 1), row("b", "plain", 0.04, 1), row("a", "cad 1", 0.04, 2)]
    rows += [row("b", "cad 1", 0.05, 2), row("c", "cad 1", 9.0, 2)]  # c has no plain run
    found = script("rules_speed").speeds(rows)
    assert found["cad 1"]["speed"] == pytest.approx((0.5 + 0.8) / 2)
    assert found["cad 1"]["n"] == 2
    assert found["plain"]["speed"] == 1.0


def test_the_weight_of_acd_is_told_apart(script) -> None:
    rows = [
        {"item": item, "shown": shown, "first": first, "mean": first}
        for shown, firsts in (("gold", (0.8, 0.6)), ("irrelevant", (0.5, 0.6)))
        for item, first in zip("ab", firsts, strict=True)
    ]
    text = script("rules_tables").weights(rows)
    assert "0.875" in text  # of four pairs three are right and one is a tie
    assert "-0.150 (-0.300 to +0.000)" in text


@pytest.fixture
def bench(script, tmp_path, monkeypatch):
    monkeypatch.setenv("RAGDECODE_CACHE", str(tmp_path / "cache"))
    app = tiny_app.write_app(tmp_path / "app", tiny_app.write_model(tmp_path / "model"))
    file = tiny_app.write_pipeline(app, "rules", decode={"governor": "off"})
    monkeypatch.setattr(script("rules_run"), "PIPELINE", file)
    rows = script("rules_rows").ROWS
    chosen = {name: rows[name] for name in ("plain", "cad 1", "acd", "ensemble", "decore")}
    with Pipeline.load(file) as first:
        yield script("rules_run").Bench(first, chosen, {"heads": "nowhere", "detector": "nowhere"})


def test_rows_are_those_of_each_rule_alone_and_a_run_goes_on(bench, script, tmp_path) -> None:
    run, asked = script("rules_run"), items(script)
    kind = task(script)
    names, out = bench.usable(kind, asked)
    assert names == ["plain", "cad 1", "acd"]
    assert "nowhere" in out["decore"]
    file = tmp_path / "t.jsonl"
    run.run_task(bench, kind, asked, names, file, group=2)
    lines = file.read_text().splitlines()
    for line in map(json.loads, lines):
        request = bench.request(kind, next(item for item in asked if item.id == line["item"]), line["row"])
        assert line["text"] == bench.answer([request])[request.id].text
    assert len({(row["item"], row["row"]) for row in map(json.loads, lines)}) == 9
    file.write_text("\n".join([*lines[:5], lines[5][:20]]))  # broken off
    run.run_task(bench, kind, asked, names, file, group=2)
    assert sorted(file.read_text().splitlines()) == sorted(lines)


def test_given_answers_are_scored_under_each_rule(bench, script, tmp_path) -> None:
    asked = items(script, wrong=("Mrs", "nobody at all"))
    kind = task(script, tokens=0, metrics={"mc1": "", "mc2": ""})
    file = tmp_path / "t.jsonl"
    script("rules_run").run_task(bench, kind, asked, ["plain", "acd"], file, group=3)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows) == 6
    assert all(len(row["scores"]) == 3 for row in rows)
    assert rows[0]["scores"] != rows[1]["scores"]


def test_known_questions_are_asked_once(bench, script, tmp_path) -> None:
    known, asked = script("rules_known"), items(script, 4)
    file = tmp_path / "known.jsonl"
    assert known.screen(bench, task(script), asked[:2], 9, file) == 0
    before = file.read_text()
    known.screen(bench, task(script), asked, 9, file)
    assert file.read_text().startswith(before)
    assert [json.loads(line)["item"] for line in file.read_text().splitlines()] == ["i0", "i1", "i2", "i3"]


def test_timing_runs_every_row_in_turns(bench, script, tmp_path, monkeypatch) -> None:
    speed = script("rules_speed")
    monkeypatch.setattr(speed, "TOKENS", 3)
    file = tmp_path / "speed.jsonl"
    speed.time_rows(bench, task(script), items(script, 2), ["plain", "cad 1"], file)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(row["item"], row["row"]) for row in rows] == [
        ("i0", "plain"), ("i0", "cad 1"), ("i1", "plain"), ("i1", "cad 1")
    ]  # fmt: skip
    assert {row["row"]: row["rows_a_pass"] for row in rows} == {"plain": 1.0, "cad 1": 2.0}


def test_noise_never_holds_an_answer_and_no_passage_of_its_own(script, tmp_path) -> None:
    sets = script("rules_sets")
    write_squad(tmp_path / "squad_xquad_en")
    subjects = ["bridges", "towers", "cheese", "rivers"]
    gold = [
        {"id": f"g{at}", "question": f"who likes {subject} best", "golden_answers": [f"Name{at}"],
         "contexts": [{"text": f"{subject} are liked best by Name{at}"}]}
        for at, subject in enumerate(subjects)
    ]  # fmt: skip
    closed = [{"id": "o0", "question": "who likes towers", "golden_answers": ["Name1"]}, {**gold[0], "id": "o1"}]
    trivia = [{"id": "t0", "question": "what?", "golden_answers": ["yes"],
               "contexts": [{"text": text} for text in ("yes it is", "no", "maybe", "never")]}]  # fmt: skip
    for name, rows in (("nq_gold", gold), ("nq_open", closed), ("triviaqa", trivia)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {item.id: item for item in sets.with_noise(tmp_path, Words())}
    assert found["triviaqa/t0"].passages == ("no", "maybe")
    assert "nq/o0" in found
    assert "nq/o1" not in found  # the same question as nq/g0
    assert len([name for name in found if name.startswith("squad/")]) == 5
    for item in found.values():
        assert len(item.passages) == sets.DISTRACTORS
        assert not any(answer in text for text in item.passages for answer in item.right)
