"""The page of a run: what it says, that texts stay texts, and that its filter works in a browser."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from ragdecode.evaluation.report.eval import page
from ragdecode.evaluation.report.run_cases import cases_data
from ragdecode.evaluation.report.run_folder import RunFolder
from ragdecode.evaluation.report.run_grid import Grid, short_names, unsupported
from ragdecode.evaluation.runs.record import Cell, Failure
from ragdecode.evaluation.runs.summarise import summarise
from tests.evaluation.report.chromium import after, dump, needs_browser
from tests.evaluation.runs.sample_run import sample_plan, sample_records, write_sample_run

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">{{data}}\x00"


def write(folder, plan, records):
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(record.to_json(), allow_nan=False) for record in records]
    (folder / "predictions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "summary.json").write_text(json.dumps(summarise(plan, records), allow_nan=False), encoding="utf-8")
    return RunFolder.open(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return RunFolder.open(write_sample_run(tmp_path_factory.mktemp("run") / "run"))


@pytest.fixture(scope="module")
def shown(run):
    return page(run)


def text_of(page):
    body = re.sub(r"<script.*?</script>|<style.*?</style>", " ", page, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


class Balanced(HTMLParser):
    """Fails on tags that do not match."""

    EMPTY = ("meta", "br", "hr", "img", "input", "link")

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_beside_it(shown):
    parser = Balanced()
    parser.feed(shown)
    assert parser.open == []
    assert not re.search(r"(src|href)=\"(?!#)|url\(|@import|https?://(?!www\.w3\.org/2000/svg)", shown)
    assert "default-src 'none'" in shown
    assert "NaN" not in shown.replace("isNaN", "")
    for name in (
        "pipelines",
        "scores",
        "tradeoffs",
        "comparisons",
        "confidence",
        "sentences",
        "costs",
        "failures",
        "cases",
    ):
        assert f'<section id="{name}"' in shown or f'id="{name}" aria-labelledby' in shown, name


def test_every_pipeline_has_its_line_with_the_summarys_figures(run, shown):
    text = text_of(shown)
    for system in run.summary["systems"]:
        assert f"{system['system']} {system['headline']}" in text
        assert f"F1 {system['metrics']['f1']:.3g}" in text
        assert f"{system['tokens_per_second']:.3g} tokens/s" in text
    failed = [system["failed"] for system in run.summary["systems"]]
    assert re.findall(r"tokens/s (\d+) failed", text) == [str(one) for one in failed if one]


def test_scores_have_their_intervals_and_the_best_stands_out(run, shown):
    grid = Grid(run)
    figures = {system: grid.figure(system, "towns", "f1") for system in grid.systems}
    best = max(figures.values(), key=lambda one: one["mean"])
    for one in figures.values():
        assert f"{one['mean']:.3g}" in shown
        assert f"[{one['low']:.3g}, {one['high']:.3g}]" in shown
    assert re.search(rf'class="best"[^>]*>{best["mean"]:.3g} <span class="ends">', shown)


def test_the_frontier_is_that_of_the_figures(run, shown):
    grid = Grid(run)
    points = {
        system: (grid.speed(system, "towns", "tokens_per_second"), grid.figure(system, "towns", "f1")["mean"])
        for system in grid.systems
    }
    best = [
        one
        for one, (x, y) in points.items()
        if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points.values())
    ]
    panel = re.search(
        r'<div class="panel" data-panel="tradeoffs" data-dataset="towns" data-metric="f1">(.*?)</figure>', shown, re.S
    )[1]
    rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", panel, re.S)
    assert len(rows) == len(points)
    told = {system for system, row in zip(grid.systems, rows, strict=True) if text_of(row).endswith("yes")}
    assert told == set(best)


def test_cases_hold_what_the_journal_does(run, shown):
    data = data_of(shown)
    records = list(run.records())
    assert len(data["cases"]) == data["total"] == 48
    assert sum(len(case["answers"]) for case in data["cases"]) == len(records)
    grid = Grid(run)
    by_place = {(one.cell.system, one.cell.dataset, one.id): one for one in records}
    for case in data["cases"]:
        for answer in case["answers"]:
            record = by_place[grid.systems[answer["system"]], case["dataset"], case["id"]]
            assert answer["text"] == record.answer
            assert [data["passages"][at]["text"] for at in answer["passages"]] == [
                one["text"] for one in record.passages
            ]
            for own, sentence in zip(answer["sentences"], record.sentences, strict=True):
                assert own["bad"] == (sentence["faithfulness"] < 0.5)
                spans = [(data["passages"][at]["id"], a, b) for at, a, b in own["evidence"]]
                assert spans == [(one["passage"], one["start"], one["end"]) for one in sentence.get("evidence", [])]
    texts = [(one["id"], one["text"]) for one in data["passages"]]
    assert len(texts) == len(set(texts)), "equal passages are held once"


def test_the_most_telling_cases_stay(run):
    data = cases_data(Grid(run), 5)
    assert len(data["cases"]) == 5
    assert data["total"] == 48
    failed = {(one.cell.dataset, one.id) for one in run.records() if one.error}
    kept = {(case["dataset"], case["id"]) for case in data["cases"]}
    assert kept <= failed or failed <= kept
    assert "5 of 48 questions" in text_of(page(run, cases=5))


def test_verdicts_go_before_scores():
    assert unsupported({"faithfulness": 0.6, "faithful": False}) is True
    assert unsupported({"faithfulness": 0.4, "faithful": True}) is False
    assert unsupported({"faithfulness": 0.4, "faithful": None}) is True
    assert unsupported({"faithfulness": 0.5}) is False
    assert unsupported({"faithfulness": None, "faithful": None}) is None


def test_names_are_short_only_while_they_differ():
    def system(pipeline, settings):
        return {"system": Cell(pipeline, "d", settings).system, "pipeline": pipeline, "settings": settings}

    short = short_names([system("a", {}), system("cad", {"decode.rule.cad.alpha": 0.5})])
    assert list(short.values()) == ["a", "cad (alpha=0.5)"]
    alike = [system("a", {"x.k": 1}), system("a", {"y.k": 1})]
    assert short_names(alike) == {one["system"]: one["system"] for one in alike}
    both = system("a", {"x.k": 1, "y.k": 2})
    assert short_names([both]) == {both["system"]: both["system"]}


def test_seeds_are_one_line_with_an_interval_over_examples(tmp_path):
    plan = sample_plan(6)
    cells = {Cell(name, "towns", {}, seed): 6 for name in ("plain", "other") for seed in (0, 1)}
    records = [
        replace(record, cell=cell)
        for cell in cells
        for record in sample_records(plan)
        if record.cell == Cell("plain", "towns", {}) and record.error is None
    ]
    made = write(tmp_path / "run", type(plan)(**(vars(plan) | {"cells": cells})), records)
    grid = Grid(made)
    assert grid.systems == ["plain", "other"]
    figure, single = grid.figure("plain", "towns", "f1"), made.summary["cells"][0]["metrics"]["f1"]
    assert (figure["mean"], figure["low"], figure["high"]) == (single["mean"], single["low"], single["high"])
    assert figure["n"] == 2 * single["n"]
    assert page(made).count('<option value="1">1</option>') == 1


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run in which every text that comes from outside tries to become markup."""
    plan = sample_plan(3)
    records = []
    for record in sample_records(plan):
        sentences = [{"text": EVIL, "start": 0, "end": len(EVIL), "faithfulness": 0.2, "supported_by": [EVIL]}]
        passages = [{"id": EVIL, "source": EVIL, "text": EVIL, "score": 1.0, "rank": 1}]
        records.append(
            replace(record, question=EVIL, references=(EVIL, "("), answer=EVIL, sentences=sentences, passages=passages,
                    notes=[EVIL], choices=[{"text": EVIL, "logprob": -1.0}])
        )  # fmt: skip
    records[0] = replace(records[0], answer=None, sentences=[], error=Failure("part", EVIL), metrics={})
    cells = {
        Cell(EVIL if cell.pipeline == "cad" else cell.pipeline, cell.dataset, cell.settings): n
        for cell, n in plan.cells.items()
    }
    records = [
        replace(one, cell=Cell(EVIL if one.cell.pipeline == "cad" else "plain", one.cell.dataset, one.cell.settings))
        for one in records
    ]
    plan = type(plan)(**(vars(plan) | {"cells": cells, "name": EVIL, "description": EVIL, "notes": [EVIL],
                                       "versions": {EVIL: EVIL}, "headlines": {"plain": EVIL}}))  # fmt: skip
    return write(tmp_path_factory.mktemp("hostile") / "run", plan, records)


def test_texts_cannot_become_markup(hostile, tmp_path):
    shown = page(hostile)
    assert shown.count("<script") == 2  # the data, and the page's own script
    assert "<img" not in shown
    assert "\x00" not in shown
    parser = Balanced()
    parser.feed(shown)
    assert parser.open == []


def test_a_run_that_is_not_whole_says_so(tmp_path):
    plan = sample_plan(4)
    records = sample_records(plan)[:9]
    made = write(tmp_path / "run", plan, records)
    with (made.path / "predictions.jsonl").open("a") as stream:
        stream.write('{"cut": ')
    text = text_of(page(RunFolder.open(made.path)))
    assert "The run is not whole" in text
    assert "1 lines are no records" in text
    empty = write(tmp_path / "empty", plan, [])
    assert "The run is not whole" in text_of(page(empty))
    (empty.path / "predictions.jsonl").unlink()
    assert "cannot be read" in text_of(page(RunFolder.open(empty.path)))


# what a reader does in the page, and what then stands there
USE = """
const field = (name, value) => {
  const one = document.getElementById("case-filter").elements[name];
  one.value = value;
  one.dispatchEvent(new Event("input", { bubbles: true }));
};
const told = () => [document.getElementById("case-count").textContent, document.querySelectorAll(".case").length];
const out = {};
out.start = told();
field("words", "harbour of BESK"); out.words = told(); field("words", "");
field("dataset", "towns"); out.dataset = told();
field("show", "failed"); out.failed = told();
field("show", "unsupported"); field("sort", "faithful"); out.unsupported = told();
field("system", "0"); out.ofPlain = told(); field("system", ""); field("dataset", "");
field("show", "worse"); out.worse = told(); field("show", "unsupported");
document.querySelector(".case > button").click();
out.bad = [...document.querySelectorAll(".answers .unsupported")].map((one) => one.textContent);
const good = document.querySelector(".answers .sentence.supported");
good.click();
out.pressed = document.querySelectorAll('.answers [aria-pressed="true"]').length;
out.own = [...document.querySelectorAll(".passages mark.own")].map((one) => one.textContent);
out.goodText = good.textContent;
const panels = (group) => [...document.querySelectorAll(`[data-panel="${group}"]`)].filter((one) => !one.hidden).length;
out.panels = ["scores", "tradeoffs", "comparisons", "confidence", "costs"].map(panels);
const pick = document.querySelector('form[data-group="scores"] select');
pick.value = "towns"; pick.dispatchEvent(new Event("change", { bubbles: true }));
const open = [...document.querySelectorAll('[data-panel="scores"]')].filter((one) => !one.hidden);
out.chosen = open.map((one) => one.dataset.dataset);
const sort = document.querySelector('#costs table.sortable thead button'); sort.click(); sort.click();
out.sorted = sort.closest("th").getAttribute("aria-sort");
out.wide = document.documentElement.scrollWidth <= document.documentElement.clientWidth;
document.body.setAttribute("data-out", JSON.stringify(out));
"""


def used(page, script, tmp_path, **options):
    found = after(page, script, tmp_path, **options)
    match = re.search(r'<body[^>]* data-out="([^"]*)"', found)
    assert match, "the page's script stopped"
    return json.loads(html.unescape(match[1]))


@needs_browser
def test_a_reader_filters_sorts_and_looks_into_cases(run, shown, tmp_path):
    out = used(shown, USE, tmp_path)
    data = data_of(shown)
    cases = data["cases"]

    def count(test):
        return f"{sum(map(test, cases))} of {len(cases)} questions"

    def bad(answer):
        return any(one["bad"] for one in answer["sentences"])

    assert out["start"] == [count(lambda case: True), 40]  # the rest comes with the button
    assert out["words"][0] == count(lambda case: "harbour of Besk" in case["question"])
    assert out["dataset"][0] == count(lambda case: case["dataset"] == "towns")
    towns = [case for case in cases if case["dataset"] == "towns"]
    failed = sum(any(one["error"] for one in case["answers"]) for case in towns)
    assert out["failed"] == [f"{failed} of {len(cases)} questions", failed]
    assert out["unsupported"][1] == sum(any(map(bad, case["answers"])) for case in towns)
    assert out["ofPlain"][1] == sum(any(bad(one) for one in case["answers"] if one["system"] == 0) for case in towns)
    metric = data["metric"]

    def worse(case):
        first = [one["metrics"][metric] for one in case["answers"] if one["system"] == 0 and not one["error"]]
        rest = [one["metrics"][metric] for one in case["answers"] if one["system"] and not one["error"]]
        return bool(first) and any(value < min(first) for value in rest)

    assert out["worse"][0] == count(worse)
    assert out["bad"], "unsupported sentences are marked"
    assert all("It was built in" in text for text in out["bad"])
    assert out["pressed"] == 1
    assert out["own"] or "lies by the sea" in out["goodText"]
    assert out["panels"] == [1, 1, 1, 1, 1]
    assert out["chosen"] == ["towns"]
    assert out["sorted"] == "ascending"
    assert out["wide"], "nothing is wider than the window"


@needs_browser
def test_hostile_texts_run_no_script_and_reach_nothing(hostile, tmp_path):
    path = tmp_path / "own.html"
    path.write_text(page(hostile), encoding="utf-8")
    found = dump(path, tmp_path)
    assert "<title>owned" not in found
    assert '<li class="case">' in found  # the page's own script ran under its policy
    opened = after(
        page(hostile), "for (const one of document.querySelectorAll('.case > button')) one.click();", tmp_path
    )
    assert "<title>owned" not in opened
    assert "<img" not in opened
    assert "&lt;img" in opened


@needs_browser
def test_ranges_count_characters_as_python_does(tmp_path):
    plan = sample_plan(1)
    answer, evidence = "🙂🙂 Arl. Old.", "🙂 x𝒳 It is old 🙂."
    start = evidence.index("It is old")
    sentences = [
        {"text": "🙂🙂 Arl.", "start": 0, "end": 7, "faithfulness": 0.1, "faithful": False, "supported_by": []},
        {"text": "Old.", "start": 8, "end": 12, "faithfulness": 0.9, "faithful": True, "supported_by": ["p"],
         "evidence": [{"passage": "p", "start": start, "end": start + 9}]},
    ]  # fmt: skip
    passage = {"id": "p", "source": "s", "text": evidence, "score": 1.0, "rank": 1}
    record = next(one for one in sample_records(plan) if one.error is None)
    record = replace(record, answer=answer, sentences=sentences, passages=[passage], references=("X𝒳",))
    made = write(tmp_path / "run", plan, [record])
    script = """
    document.querySelector(".case > button").click();
    const texts = (look) => [...document.querySelectorAll(look)].map((one) => one.textContent);
    const out = { bad: texts(".answers .unsupported"), good: texts(".answers .supported"),
                  found: texts(".passages mark.found"), ref: texts(".passages mark.ref") };
    document.body.setAttribute("data-out", JSON.stringify(out));
    """
    out = used(page(made), script, tmp_path)
    assert out == {"bad": ["🙂🙂 Arl."], "good": ["Old."], "found": ["It is old"], "ref": ["x𝒳"]}
