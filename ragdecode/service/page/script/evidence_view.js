// The evidence of a sentence, marked in its document.
import { button, el } from "./dom.js";
import { unitAt } from "./points.js";
import { locate } from "./locate.js";
import { kind, verdict } from "./answer_view.js";

const AROUND = 3000; // characters of the document shown before and behind the passage, until more is asked for

const WORDS = {
  faithful: (score) => `Supported by the evidence: ${score}`,
  unfaithful: (score) => `Not supported by the evidence: ${score}`,
  unscored: () => "Not scored: this pipeline has no monitor that scores sentences.",
};

export class EvidenceView {
  /** @param library Finds documents: `library.textOf(pipeline, passage, signal)` gives {name, text} or null. */
  constructor(panel, library) {
    Object.assign(this, { panel, library, asked: null });
  }

  empty() {
    this.panel.replaceChildren(el("p", { class: "soft", text: "Choose a sentence of an answer to see what supports it." }));
  }

  /** Show a sentence and the passage that supports it best, or the passage asked for. */
  show(view, sentenceIndex, passageIndex) {
    const { answer } = view;
    const sentence = answer.sentences[sentenceIndex];
    const ranges = (id) => (sentence?.evidence || []).filter((one) => one.passage === id);
    const supporting = new Set([...(sentence?.supported_by || []), ...(sentence?.evidence || []).map((one) => one.passage)]);
    const first = answer.passages.findIndex((passage) => passage.id === [...supporting][0]);
    const chosen = passageIndex ?? Math.max(0, first);
    const nodes = [];
    if (sentence) {
      const word = kind(sentence);
      nodes.push(el("p", { class: "said", dir: "auto", text: sentence.text }));
      nodes.push(el("p", { class: `verdict ${word}`, text: WORDS[word](sentence.faithfulness?.toFixed(2)) }));
    }
    if (!answer.passages.length) {
      nodes.push(el("p", { class: "soft", text: "No evidence was found for this question: the model answered on its own." }));
      return this.panel.replaceChildren(...nodes);
    }
    if (sentence && !supporting.size) nodes.push(el("p", { class: "soft", text: "No passage was found to support it. What the model was shown:" }));
    nodes.push(el("ul", { class: "picks", "aria-label": "Passages" }, ...answer.passages.map((passage, index) => {
      const pick = button(`${passage.rank}${supporting.has(passage.id) ? " ✓" : ""} ${passage.source || passage.id}`,
        () => this.#pick(view, sentenceIndex, index));
      pick.setAttribute("aria-pressed", String(index === chosen));
      if (supporting.has(passage.id)) pick.setAttribute("aria-label", `${passage.source || passage.id}, passage ${passage.rank}, supports the sentence`);
      return el("li", {}, pick);
    })));
    const passage = answer.passages[chosen];
    const reader = el("div", { class: "reader" });
    nodes.push(reader);
    this.panel.replaceChildren(...nodes);
    this.#read(view.pipeline, passage, ranges(passage.id), reader);
  }

  #pick(view, sentence, index) {
    this.show(view, sentence, index);
    this.panel.querySelectorAll(".picks button")[index]?.focus();
  }

  async #read(pipeline, passage, ranges, reader) {
    this.asked?.abort();
    this.asked = new AbortController();
    const { signal } = this.asked;
    const marks = ranges.map((one) => [unitAt(passage.text, one.start), unitAt(passage.text, one.end)]);
    const alone = { text: passage.text, start: 0, end: passage.text.length, at: (offset) => offset };
    this.#draw(reader, passage.source || passage.id, alone, marks, false);
    let found = null;
    try {
      found = await this.library.textOf(pipeline, passage, signal);
    } catch {
      found = null; // the passage as the model saw it stays
    }
    if (signal.aborted) return;
    const place = found && locate(passage.text, found.text);
    if (place) return this.#draw(reader, found.name, { text: found.text, ...place }, marks, false);
    reader.append(el("p", { class: "soft more", text: "The passage as the model saw it. The rest of its document is not at hand." }));
  }

  #draw(reader, name, place, marks, whole) {
    const { text, start, end, at } = place;
    const from = whole ? 0 : Math.max(0, start - AROUND);
    const to = whole ? text.length : Math.min(text.length, end + AROUND);
    const body = el("p", { class: "text", dir: "auto", tabindex: "0", role: "region", "aria-label": `Text of ${name}` });
    const inside = el("span", { class: "passage" });
    let last = start;
    for (const [first, stop] of joined(marks)) {
      inside.append(text.slice(last, at(first)), el("mark", { text: text.slice(at(first), at(stop)) }));
      last = at(stop);
    }
    inside.append(text.slice(last, end));
    body.append((from > 0 ? "… " : "") + text.slice(from, start), inside, text.slice(end, to) + (to < text.length ? " …" : ""));
    const nodes = [el("h4", { text: name }), body];
    if (from > 0 || to < text.length) {
      nodes.push(button("Show the whole document", () => this.#draw(reader, name, place, marks, true), { class: "more" }));
    }
    reader.replaceChildren(...nodes);
    const target = inside.querySelector("mark") || inside;
    body.scrollTop = Math.max(0, target.offsetTop - 60);
  }
}

/** Ranges in order, those that touch as one. */
function joined(ranges) {
  const found = [];
  for (const [start, end] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const last = found[found.length - 1];
    if (last && start <= last[1]) last[1] = Math.max(last[1], end);
    else found.push([start, end]);
  }
  return found;
}
