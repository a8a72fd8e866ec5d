"""The page in a real Chromium: asking, evidence, tokens, documents, comparing; what hostile text may not do."""

from __future__ import annotations

import time

import pytest

from tests.service.page.stand_in import HOSTILE, recorded

QUESTION = "Which exit code means that the input was wrong?"


def ask(page, question=QUESTION, pipeline="docs-qa", other=""):
    page.select_option("#pipeline", pipeline)
    page.select_option("#other", other)
    page.fill("#question", question)
    page.keyboard.press("Enter")


def until(page, expression):
    """Wait for a condition; the page's policy forbids the driver's own way, which evaluates text within the page."""
    deadline = time.monotonic() + 10
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(10)


def finished(page, count=1):
    for i in range(count):
        page.locator(".turn").first.locator(".answer-card .facts div").nth(i * 4).wait_for()
    until(page, "document.getElementById('ask-button').textContent === 'Ask'")


def shown(page, card=0):
    """The text of an answer as it stands on the page, without the scores."""
    script = """node => { const copy = node.cloneNode(true);
        for (const one of copy.querySelectorAll('.score')) one.remove(); return copy.textContent; }"""
    return page.locator(".turn").first.locator(".answer").nth(card).evaluate(script)


def done(name):
    return recorded(name)[-1]


def test_an_answer_streams_and_its_sentences_are_coloured(open_page, known):
    known.pause = 0.02
    page = open_page()
    ask(page)
    until(page, "document.querySelector('.answer')?.textContent.length > 20")
    assert page.locator(".state").inner_text() == "Writing"
    assert page.inner_text("#ask-button") == "Stop"
    early = shown(page)
    finished(page)
    record = done("docs-qa")["answer"]
    assert shown(page) == record["answer"]
    assert record["answer"].startswith(early)
    assert len(early) < len(record["answer"])
    sentences = page.locator(".sentence")
    assert sentences.count() == len(record["sentences"])
    for node, sentence in zip(sentences.all(), record["sentences"], strict=True):
        assert ("faithful" if sentence["faithful"] else "unfaithful") in node.get_attribute("class").split()
        assert node.locator(".score").inner_text() == f"{sentence['faithfulness']:.2f}"
    assert known.asked[0]["stream"] is True
    assert known.asked[0]["conversation"] == "new"


def test_a_sentence_shows_its_evidence_marked_in_its_document(open_page, known):
    page = open_page()
    ask(page)
    finished(page)
    page.locator(".sentence").first.click()
    record = done("docs-qa")["answer"]
    passages = {one["id"]: one for one in record["passages"]}
    evidence = record["sentences"][0]["evidence"][0]
    passage = passages[evidence["passage"]]
    until(page, "document.querySelector('.reader .text').textContent.length > 2000")  # the document, not the passage
    assert (
        page.locator(".reader mark").inner_text().split()
        == passage["text"][evidence["start"] : evidence["end"]].split()
    )
    assert page.locator(".reader h4").inner_text() == "cli.md"
    page.get_by_role("button", name="Show the whole document").click()
    assert page.locator(".reader .text").evaluate("node => node.textContent") == known.texts["d1"]
    # the mark is in sight within the reader
    box, mark = page.locator(".reader .text").bounding_box(), page.locator(".reader mark").first.bounding_box()
    assert box["y"] - 1 <= mark["y"] < box["y"] + box["height"]
    # another passage on request
    page.locator(".picks button").nth(1).click()
    assert page.locator(".picks button").nth(1).get_attribute("aria-pressed") == "true"


def test_a_token_shows_belief_with_and_without_evidence_and_its_drafter(open_page, known):
    page = open_page()
    ask(page)
    finished(page)
    trace = done("docs-qa")["trace"]
    drafted = next(i for i, token in enumerate(trace["tokens"]) if token["source"] != "model")
    changed = next(
        i
        for i, token in enumerate(trace["tokens"])
        if token["choices"].get("without_context") not in (None, token["token"])
    )
    page.get_by_role("tab", name="Token").click() if page.locator("#details").is_visible() else page.keyboard.press("t")
    page.locator("body").click(position={"x": 2, "y": 2})
    page.keyboard.press("t")
    page.locator(f"[data-token='{changed}']").first.click()
    panel = page.locator("#panel-token")
    assert f"token {changed + 1} of {len(trace['tokens'])}" in panel.inner_text()
    assert "The evidence changed this choice" in panel.inner_text()
    assert "with the evidence" in panel.inner_text()
    assert "without the evidence" in panel.inner_text()
    assert panel.locator("table").first.locator("tbody tr").count() == len(trace["tokens"][changed]["alternatives"])
    page.locator(f"[data-token='{drafted}']").first.click()
    assert f"drafted by {trace['tokens'][drafted]['source']}" in panel.inner_text()
    # every token of the answer can be reached with the keys
    page.locator(".sentence").first.focus()
    before = panel.locator(".place").inner_text()
    page.keyboard.press("ArrowRight")
    assert panel.locator(".place").inner_text() != before


def test_a_token_shows_the_neighbours_that_voted(open_page, known):
    page = open_page()
    ask(page, pipeline="neighbours")
    finished(page)
    tokens = done("neighbours")["trace"]["tokens"]
    index = next(i for i, token in enumerate(tokens) if token["rules"].get("knn_lm", {}).get("neighbours"))
    page.locator("body").click(position={"x": 2, "y": 2})
    page.keyboard.press("t")
    page.locator(f"[data-token='{index}']").first.click()
    table = page.locator("#panel-token table", has_text="Neighbours (knn_lm)")
    told = tokens[index]["rules"]["knn_lm"]["neighbours"]
    assert table.locator("tbody tr").count() == len(told)
    assert told[0]["behind"].strip() in table.locator("tbody tr").first.inner_text()


def test_two_pipelines_side_by_side(open_page, known):
    page = open_page()
    ask(page, pipeline="docs-qa", other="neighbours")
    finished(page, 2)
    assert shown(page, 0) == done("docs-qa")["answer"]["answer"]
    assert shown(page, 1) == done("neighbours")["answer"]["answer"]
    assert {one["pipeline"] for one in known.asked} == {"docs-qa", "neighbours"}
    left, right = (page.locator(".answer-card").nth(i).bounding_box() for i in (0, 1))
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]
    page.get_by_text("The two answers differ.").wait_for()
    page.locator(".answer-card").nth(1).locator(".sentence").first.click()
    assert page.locator(".sentence[aria-pressed=true]").count() == 1


def test_upload_watch_and_delete(open_page, known, tmp_path):
    page = open_page()
    page.get_by_role("button", name="Documents").click()
    file = tmp_path / "crabs.md"
    file.write_text("Crabs walk sideways.")
    page.set_input_files("#files", str(file))
    row = page.locator("#documents li", has_text="crabs.md")
    row.get_by_text("waiting").wait_for()
    row.get_by_text("being indexed").wait_for()
    assert row.locator("progress").count() == 1
    row.get_by_text("ready").wait_for()
    assert page.inner_text("#document-count") == "3"
    row.get_by_role("button", name="Delete crabs.md").click()
    row.get_by_role("button", name="Keep crabs.md").click()
    row.get_by_role("button", name="Delete crabs.md").click()
    row.get_by_role("button", name="Delete crabs.md for good").click()
    row.wait_for(state="detached")
    assert "crabs.md" not in [one["name"] for one in known.documents.values()]


def test_what_the_service_refuses_is_shown(open_page, known, tmp_path):
    page = open_page()
    empty = tmp_path / "empty.md"
    empty.write_bytes(b"")
    page.get_by_role("button", name="Documents").click()
    page.set_input_files("#files", str(empty))
    page.get_by_text("The file is empty. empty.md has no bytes. Choose another file.").wait_for()
    page.get_by_role("button", name="Ask", exact=True).click()
    ask(page, "busy")
    page.get_by_text("Too many questions wait").wait_for()
    page.get_by_text("Try again in 7 s.").wait_for()
    known.break_off = 9
    ask(page)
    page.get_by_text("The connection broke off").wait_for()
    # a browser notes every answer above 399 by itself
    page.complaints[:] = [said for said in page.complaints if "Failed to load resource" not in said]


def test_markup_of_others_stays_text(open_page, known):
    page = open_page()
    ask(page, HOSTILE, pipeline="hostile")
    page.get_by_text("Complete", exact=True).wait_for()
    assert shown(page) == done_text(known)
    assert page.locator(".turn h2").inner_text() == HOSTILE
    page.locator(".sentence").first.click()
    until(page, "document.querySelector('.reader .text').textContent.startsWith('Before.')")
    assert page.locator(".reader mark").inner_text() == "Sideways 🦀"  # counted in characters, not in UTF-16 units
    assert "unfaithful" in page.locator(".sentence").nth(1).get_attribute("class")
    page.get_by_role("button", name="Documents").click()
    page.locator("#documents li", has_text=HOSTILE).wait_for()
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img, main script").count() == 0


def done_text(known):
    return known.answers["hostile"][-1]["answer"]["answer"]


def test_leaving_an_answer_stops_it(open_page, known):
    known.pause = 0.05
    page = open_page()
    ask(page)
    until(page, "document.querySelector('.answer')?.textContent.length > 5")
    page.keyboard.press("Escape")
    page.get_by_text("Stopped", exact=True).wait_for()
    assert len(shown(page)) < len(done("docs-qa")["answer"]["answer"])
    assert page.inner_text("#ask-button") == "Ask"


def test_a_follow_up_belongs_to_the_conversation(open_page, known):
    page = open_page()
    ask(page)
    finished(page)
    ask(page, "And 1?")
    until(page, "document.querySelectorAll('.turn').length === 2")
    finished(page)
    assert [one["conversation"] for one in known.asked] == ["new", "c1"]
    page.get_by_role("button", name="New conversation").click()
    assert page.locator(".turn").count() == 0


def test_a_key_is_asked_for_and_sent(open_page, known):
    page = open_page()
    known.key = "secret"
    page.reload()
    page.locator("#key-dialog").wait_for()
    page.fill("#key", "secret")
    page.keyboard.press("Enter")
    page.locator("#pipeline option").first.wait_for(state="attached")
    assert page.evaluate("document.querySelectorAll('#pipeline option').length") == 3
    page.complaints[:] = [said for said in page.complaints if "Failed to load resource" not in said]


def test_everything_by_keyboard(open_page, known):
    page = open_page()
    page.keyboard.press("/")
    page.keyboard.type(QUESTION)
    page.keyboard.press("Enter")
    finished(page)
    page.locator("#question").evaluate("node => node.blur()")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.dataset.sentence") == "0"
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.dataset.sentence") == "1"
    assert page.locator("#panel-evidence").is_visible()
    page.keyboard.press("t")
    assert page.locator("#panel-token").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#details").is_visible()
    page.keyboard.press("?")
    assert page.locator("#help-dialog").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("d")
    assert page.locator("#documents-view").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
def test_axe_finds_nothing(open_page, known, scheme, width):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    ).Axe()
    page = open_page(width, 800, color_scheme=scheme)
    ask(page, pipeline="neighbours" if width == 1280 else "hostile", other="docs-qa")
    page.get_by_text("The two answers differ.").wait_for()
    for part in ("evidence", "token", "documents"):
        if part == "evidence":
            page.locator(".sentence").first.click()
        elif part == "token":
            page.locator("#tab-token").click()
        else:
            page.get_by_role("button", name="Documents").click()
        found = axe.run(page).response["violations"]
        assert [(one["id"], [node["html"][:160] for node in one["nodes"]]) for one in found] == [], part
    # nothing is wider than the screen
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_theme_is_chosen_and_kept(open_page, known):
    page = open_page(color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.locator("#theme-button").click()
    page.locator("#theme-button").click()
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    assert page.evaluate(background) == dark
