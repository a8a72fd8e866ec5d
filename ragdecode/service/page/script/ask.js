// Asking: the form, the turns of a conversation, one pipeline or two side by side.
import * as api from "./api.js";
import { Answer } from "./answer.js";
import { AnswerView } from "./answer_view.js";
import { byId, el, say, showProblem } from "./dom.js";

const ALTERNATIVES = 5; // best tokens recorded at each position
const NEIGHBOURS = 6; // pieces of evidence that rules tell of each token

const ENDS = { stop: "Complete", length: "Cut at its longest", monitor: "Ended by a monitor", constraint: "Ended by a constraint" };

export class Asking {
  constructor(details) {
    Object.assign(this, { details, known: [], running: [], conversations: new Map(), latest: null });
    byId("ask-form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.running.length) this.stop();
      else this.ask();
    });
    byId("question").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      if (!this.running.length) byId("ask-form").requestSubmit();
    });
    byId("pipeline").addEventListener("change", () => this.#chosen());
    byId("other").addEventListener("change", () => this.#chosen());
    byId("new-button").addEventListener("click", () => this.begin());
  }

  /** Offer these pipelines. */
  offer(pipelines) {
    this.known = pipelines;
    const option = (one) => el("option", { value: one.name, text: one.name });
    byId("pipeline").replaceChildren(...pipelines.map(option));
    byId("other").replaceChildren(el("option", { value: "", text: "none" }), ...pipelines.map(option));
    const first = pipelines.find((one) => one.default) || pipelines[0];
    if (first) byId("pipeline").value = first.name;
    byId("other").closest(".field").hidden = pipelines.length < 2;
    this.#chosen();
  }

  get pipelines() {
    const names = [byId("pipeline").value, byId("other").value];
    return [...new Set(names.filter(Boolean))];
  }

  #chosen() {
    const lines = this.pipelines.map((name) => {
      const one = this.known.find((pipeline) => pipeline.name === name) || {};
      return [one.description, one.headline].filter(Boolean).join(" · ");
    });
    byId("pipeline-note").textContent = lines.filter(Boolean).join(" — against: ");
    for (const option of byId("other").options) option.disabled = Boolean(option.value) && option.value === byId("pipeline").value;
    if (byId("other").value === byId("pipeline").value) byId("other").value = "";
  }

  /** Forget the conversation. */
  begin() {
    this.stop();
    this.conversations.clear();
    this.latest = null;
    this.details.clear();
    byId("turns").replaceChildren();
    byId("new-button").hidden = true;
    byId("question").focus();
  }

  stop() {
    for (const controller of this.running) controller.abort();
  }

  #settings() {
    const settings = {};
    for (const [id, name] of [["max-new-tokens", "max_new_tokens"], ["temperature", "temperature"], ["seed", "seed"]]) {
      if (byId(id).value !== "") settings[name] = Number(byId(id).value);
    }
    return settings;
  }

  async ask() {
    const question = byId("question").value.trim();
    if (!question || !byId("ask-form").reportValidity()) return;
    showProblem(byId("alert"), null);
    const settings = this.#settings();
    const views = this.pipelines.map((name) => new AnswerView(new Answer(), name, (view, at) => this.details.choose(view, at)));
    const columns = el("div", { class: views.length > 1 ? "columns two" : "columns" }, ...views.map((view) => view.node));
    const turn = el("article", { class: "turn" }, el("h2", { text: question, dir: "auto" }), columns);
    byId("turns").prepend(turn);
    byId("question").value = "";
    byId("new-button").hidden = false;
    byId("ask-button").textContent = "Stop";
    say("Asked.");
    this.latest = views[0];
    await Promise.all(views.map((view) => this.#run(view, question, settings)));
    byId("ask-button").textContent = "Ask";
    if (views.length === 2 && views.every((view) => view.answer.record)) {
      const same = views[0].answer.text === views[1].answer.text;
      turn.append(el("p", { class: "same", text: same ? "Both gave the same answer." : "The two answers differ." }));
    }
    say(views.map((view) => `${view.pipeline}: ${view.state.textContent}. ${view.answer.text}`).join(" "));
  }

  async #run(view, question, settings) {
    const controller = new AbortController();
    this.running.push(controller);
    const { answer, pipeline } = view;
    const body = { question, pipeline, conversation: this.conversations.get(pipeline) || "new", alternatives: ALTERNATIVES, explain: NEIGHBOURS };
    if (Object.keys(settings).length) body.settings = settings;
    let ended = false;
    try {
      for await (const { kind, data } of api.ask(body, controller.signal)) {
        if (kind === "error") {
          ended = true;
          throw new api.Problem(data);
        }
        answer.apply(kind, data);
        if (kind === "passages") {
          view.drawPassages();
          view.setState("Writing", true);
        } else if (kind === "done") {
          ended = true;
          if (data.conversation) this.conversations.set(pipeline, data.conversation);
          view.drawRecord();
          view.setState(ENDS[answer.record.finish_reason] || "Complete", false);
        }
        view.draw();
      }
      if (!ended) throw new api.Problem({ title: "The connection broke off", detail: "The answer is not complete.", hint: "Ask again." });
      // the frame that draws the finished text comes first
      requestAnimationFrame(() => requestAnimationFrame(() => this.details.refresh(view)));
    } catch (error) {
      const stopped = error.name === "AbortError";
      view.setState(stopped ? "Stopped" : "Not answered", false);
      if (!stopped) showProblem(view.problem, error.title ? error : { title: "The page failed", detail: String(error) });
      if (error.status === 404) this.conversations.delete(pipeline);
    } finally {
      this.running = this.running.filter((one) => one !== controller);
    }
  }
}
