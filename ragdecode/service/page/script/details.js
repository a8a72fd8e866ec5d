// The pane beside the answers, with its two tabs.
import { byId } from "./dom.js";
import { EvidenceView } from "./evidence_view.js";
import { TokenView } from "./token_view.js";

export class Details {
  constructor(library) {
    this.pane = byId("details");
    this.panels = { evidence: byId("panel-evidence"), token: byId("panel-token") };
    this.tabs = { evidence: byId("tab-evidence"), token: byId("tab-token") };
    this.evidence = new EvidenceView(this.panels.evidence, library);
    this.tokens = new TokenView(this.panels.token, (index) => this.goToken(index));
    this.view = null;
    this.at = {};
    for (const [name, tab] of Object.entries(this.tabs)) {
      tab.addEventListener("click", () => this.tab(name));
      tab.addEventListener("keydown", (event) => {
        if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
        event.preventDefault();
        event.stopPropagation();
        const other = name === "evidence" ? "token" : "evidence";
        this.tab(other);
        this.tabs[other].focus();
      });
    }
    byId("close-details").addEventListener("click", () => this.close());
    this.tab("evidence");
  }

  get open() {
    return !this.pane.hidden;
  }

  /** Show one tab; what is chosen stays. */
  tab(name) {
    this.shown = name;
    for (const [one, tab] of Object.entries(this.tabs)) {
      tab.setAttribute("aria-selected", String(one === name));
      tab.tabIndex = one === name ? 0 : -1;
      this.panels[one].hidden = one !== name;
    }
    byId("turns").classList.toggle("show-tokens", name === "token");
  }

  /** Show a part of an answer: a sentence and a token, or a passage alone. */
  choose(view, { sentence = -1, token = -1, passage, focus = false }) {
    if (this.view && this.view !== view) this.view.mark(-1, -1);
    this.view = view;
    this.at = { sentence, token };
    this.pane.hidden = false;
    byId("bench").classList.add("with-details");
    view.mark(sentence, token, { focus, reveal: passage === undefined });
    this.evidence.show(view, sentence, passage);
    this.tokens.show(view, token);
    if (passage !== undefined) this.tab("evidence");
  }

  /** Draw again what is chosen: its answer has become complete. */
  refresh(view) {
    if (this.view !== view || !this.open) return;
    if (this.at.sentence >= 0 && this.at.token < 0) this.at.token = view.answer.tokenOf(this.at.sentence);
    this.choose(view, this.at);
  }

  goToken(index) {
    if (!this.view || index < 0 || index >= this.view.answer.tokens.length) return;
    const before = this.at.sentence;
    const sentence = this.view.answer.sentenceOf(index);
    this.at = { sentence: sentence < 0 ? before : sentence, token: index };
    this.view.mark(this.at.sentence, index);
    if (this.at.sentence !== before) this.evidence.show(this.view, this.at.sentence);
    this.tokens.show(this.view, index);
  }

  moveToken(step) {
    this.goToken((this.at.token ?? -1) + step);
  }

  moveSentence(step, latest) {
    const view = this.view || latest;
    if (!view || !view.answer.sentences.length) return;
    const from = this.view ? this.at.sentence : -1;
    const to = Math.min(view.answer.sentences.length - 1, Math.max(0, from + step));
    this.choose(view, { sentence: to, token: view.answer.tokenOf(to), focus: true });
  }

  close() {
    const { view } = this;
    this.pane.hidden = true;
    byId("bench").classList.remove("with-details");
    this.view = null;
    const { sentence } = this.at;
    this.at = {};
    if (view) {
      view.mark(sentence, -1, { focus: true });
      view.mark(-1, -1);
    }
  }

  /** Forget everything: a new conversation begins. */
  clear() {
    this.view = null;
    this.close();
  }
}
