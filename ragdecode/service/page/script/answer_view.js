// One answer on the page: its text in sentences, its figures, its passages.
import { button, el, number } from "./dom.js";

const verdict = (sentence) => {
  if (sentence.faithfulness === null || sentence.faithfulness === undefined) return "not scored";
  const word = sentence.faithful === false ? "not supported" : "supported";
  return `${word}, ${sentence.faithfulness.toFixed(2)}`;
};
const kind = (sentence) => {
  if (sentence.faithfulness === null || sentence.faithfulness === undefined) return "unscored";
  return sentence.faithful === false ? "unfaithful" : "faithful";
};
export { verdict, kind };

const LEGEND = [["faithful", "supported by the evidence"], ["unfaithful", "not supported"], ["unscored", "not scored"]];

export class AnswerView {
  /**
   * @param answer What it shows.
   * @param pipeline Its name.
   * @param choose Called with (view, {sentence, token, passage, focus}) when the user chooses a part of it.
   */
  constructor(answer, pipeline, choose) {
    Object.assign(this, { answer, pipeline, choose, sentence: -1, token: -1, nodes: new Map() });
    this.state = el("span", { class: "state running", text: "Looking for evidence" });
    this.text = el("div", { class: "answer", dir: "auto" });
    this.legend = el("ul", { class: "legend", "aria-label": "Legend", hidden: true });
    this.facts = el("div", { class: "facts" });
    this.notes = el("ul", { class: "notes", "aria-label": "Notes", hidden: true });
    this.sources = el("details", { class: "sources", hidden: true });
    this.problem = el("div", { role: "alert" });
    this.node = el("section", { class: "card answer-card", "aria-label": `Answer of ${pipeline}` },
      el("div", { class: "answer-head" }, el("h3", { text: pipeline }), this.state),
      this.text, this.legend, this.facts, this.problem, this.notes, this.sources);
  }

  setState(text, running) {
    this.state.textContent = text;
    this.state.classList.toggle("running", running);
  }

  /** Draw what changed; asked for often, done once a frame. */
  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.#drawText();
    });
  }

  #drawText() {
    const fresh = new Map();
    const shown = [];
    for (const segment of this.answer.segments()) {
      const { start, end, sentence, index } = segment;
      const key = JSON.stringify([start, end, index, sentence?.faithfulness, sentence?.faithful, segment.parts]);
      const node = this.nodes.get(key) || (sentence ? this.#sentence(segment) : this.#between(segment));
      fresh.set(key, node);
      shown.push(node);
    }
    // nodes that stay are not touched, so that focus stays, too
    const focused = document.activeElement?.dataset?.sentence;
    const within = this.text.contains(document.activeElement);
    shown.forEach((node, i) => {
      if (this.text.childNodes[i] !== node) this.text.insertBefore(node, this.text.childNodes[i] || null);
    });
    while (this.text.childNodes.length > shown.length) this.text.lastChild.remove();
    this.nodes = fresh;
    if (within && !this.text.contains(document.activeElement)) this.#sentenceNode(Number(focused))?.focus();
    this.#drawLegend();
    this.mark();
  }

  #part(part) {
    return el("span", { class: "token", text: part.text, "data-token": part.index });
  }
  #between({ parts }) {
    return el("span", {}, ...parts.map((part) => this.#part(part)));
  }
  #sentence({ sentence, index, parts }) {
    const node = el("span", {
      class: `sentence ${kind(sentence)}`, role: "button", tabindex: "0", "aria-pressed": "false", "data-sentence": index,
    }, ...parts.map((part) => this.#part(part)));
    node.style.setProperty("--score", String(sentence.faithfulness ?? 0));
    if (sentence.faithfulness !== null && sentence.faithfulness !== undefined) {
      node.append(el("span", { class: "score", text: sentence.faithfulness.toFixed(2), title: verdict(sentence) }));
    }
    node.setAttribute("aria-label", `${sentence.text} (${verdict(sentence)})`);
    const chosen = (event) => {
      const token = event.target.closest?.("[data-token]")?.dataset.token;
      this.choose(this, { sentence: index, token: token === undefined ? this.answer.tokenOf(index) : Number(token) });
    };
    node.addEventListener("click", chosen);
    node.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      chosen(event);
    });
    return node;
  }
  #sentenceNode(index) {
    return this.text.querySelector(`[data-sentence="${index}"]`);
  }

  /** Show which sentence and token are chosen, -1 for none; `reveal` scrolls to the sentence, `focus` goes there. */
  mark(sentence = this.sentence, token = this.token, { focus = false, reveal = false } = {}) {
    Object.assign(this, { sentence, token });
    for (const node of this.text.querySelectorAll(".sentence")) {
      node.setAttribute("aria-pressed", String(Number(node.dataset.sentence) === sentence));
    }
    for (const node of this.text.querySelectorAll(".token.chosen")) node.classList.remove("chosen");
    for (const node of this.text.querySelectorAll(`[data-token="${token}"]`)) node.classList.add("chosen");
    const node = this.#sentenceNode(sentence);
    if (focus) node?.focus({ preventScroll: true });
    if (focus || reveal) node?.scrollIntoView({ block: "nearest" });
  }

  #drawLegend() {
    const there = new Set(this.answer.sentences.map(kind));
    this.legend.hidden = there.size === 0;
    this.legend.replaceChildren(...LEGEND.filter(([name]) => there.has(name)).map(([name, text]) =>
      el("li", {}, el("span", { class: `swatch ${name}`, "aria-hidden": "true" }), text)));
  }

  drawPassages() {
    const { passages } = this.answer;
    this.sources.hidden = passages.length === 0;
    const one = (passage, index) => el("li", {}, passageButton(passage, () => this.choose(this, { passage: index })));
    this.sources.replaceChildren(el("summary", { text: `Passages (${passages.length})` }), el("ol", {}, ...passages.map(one)));
  }

  /** The figures and notes of a finished answer. */
  drawRecord() {
    const { stats, finish_reason: ended, notes } = this.answer.record;
    const seconds = Object.values(stats.seconds).reduce((sum, value) => sum + value, 0);
    const facts = [[number(stats.new_tokens), "tokens"], [number(stats.tokens_per_second, 1), "tokens a second"],
      [`${number(seconds, 1)} s`, "in all"], [ended, "ended it"]];
    if (stats.accepted) facts.splice(2, 0, [number(stats.accepted), "from drafts"]);
    this.facts.replaceChildren(...facts.map(([value, label]) => el("div", {}, el("b", { text: value }), ` ${label}`)));
    this.notes.hidden = !notes.length;
    this.notes.replaceChildren(...notes.map((text) => el("li", { text })));
    if (!this.answer.text) this.text.append(el("span", { class: "soft", text: "The answer is empty." }));
  }
}

function passageButton(passage, action) {
  const node = button(`${passage.rank}. ${passage.source || passage.id}`, action);
  node.append(el("span", { class: "soft", text: `score ${passage.score.toPrecision(3)}` }));
  return node;
}
