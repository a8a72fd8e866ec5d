// The documents of a pipeline: their list, adding, watching, removing; and their texts for the evidence.
import * as api from "./api.js";
import { button, byId, el, number, say, showProblem, size } from "./dom.js";

const WATCH_MS = 1000;
const STATES = { received: "waiting", indexing: "being indexed", ready: "ready", failed: "failed" };
const pending = (one) => one.state !== "ready" && one.state !== "failed";

export class Documents {
  constructor() {
    Object.assign(this, { pipeline: "", list: [], timer: 0, texts: new Map(), rows: new Map(), told: new Map() });
    const files = byId("files");
    files.addEventListener("change", () => {
      this.add([...files.files]);
      files.value = "";
    });
    const drop = byId("drop");
    drop.addEventListener("dragover", (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      this.add([...event.dataTransfer.files]);
    });
    byId("library").addEventListener("change", () => this.use(byId("library").value));
  }

  /** Show the documents of a pipeline. */
  async use(pipeline) {
    this.pipeline = pipeline;
    if (byId("library").value !== pipeline) byId("library").value = pipeline;
    this.list = [];
    this.rows.clear();
    await this.refresh();
  }

  async refresh() {
    const { pipeline } = this;
    clearTimeout(this.timer);
    try {
      const found = await api.documents(pipeline);
      if (pipeline !== this.pipeline) return;
      this.list = found;
      showProblem(byId("documents-alert"), null);
    } catch (problem) {
      if (pipeline === this.pipeline) showProblem(byId("documents-alert"), problem);
      byId("show-documents").hidden = problem.status === 404; // a service that keeps no documents
      return;
    }
    this.#draw();
    if (this.list.some(pending)) this.timer = setTimeout(() => this.refresh(), WATCH_MS);
  }

  /** Upload files, each with a row of its own until the service has it. */
  async add(files) {
    const { pipeline } = this;
    await Promise.all(files.map(async (file) => {
      const bar = el("progress", { max: 1, value: 0, "aria-label": `Sending ${file.name}` });
      const row = el("li", {}, el("span", { class: "name", text: file.name }), el("span", { class: "soft", text: size(file.size) }), bar);
      byId("uploads").append(row);
      try {
        await api.upload(pipeline, file, (share) => (bar.value = share));
        row.remove();
        say(`${file.name} was taken.`);
      } catch (problem) {
        bar.remove();
        const told = [problem.title, problem.detail, problem.hint].filter(Boolean);
        const text = told.map((one) => (/[.!?]$/.test(one) ? one : `${one}.`)).join(" ");
        row.append(button("Dismiss", () => row.remove(), { class: "quiet", "aria-label": `Dismiss ${file.name}` }), el("span", { class: "failed", role: "alert", text }));
      }
      await this.refresh();
    }));
  }

  #draw() {
    const rows = new Map();
    for (const one of this.list) {
      const key = JSON.stringify(one);
      rows.set(one.id, this.rows.get(one.id)?.key === key ? this.rows.get(one.id) : { key, node: this.#row(one) });
      const before = this.told.get(one.id);
      if (before && before !== one.state) say(`${one.name}: ${STATES[one.state] || one.state}.`);
      this.told.set(one.id, one.state);
    }
    this.rows = rows;
    const nodes = [...rows.values()].map((row) => row.node);
    const place = byId("documents");
    if (nodes.length !== place.children.length || nodes.some((node, i) => place.children[i] !== node)) place.replaceChildren(...nodes);
    byId("documents-empty").hidden = this.list.length > 0;
    byId("document-count").hidden = this.list.length === 0;
    byId("document-count").textContent = String(this.list.length);
  }

  #row(one) {
    const facts = [STATES[one.state] || one.state, size(one.bytes)];
    if (one.passages !== undefined && one.passages !== null) facts.push(`${number(one.passages)} ${one.passages === 1 ? "passage" : "passages"}`);
    const row = el("li", {}, el("span", { class: "name", text: one.name }), el("span", { class: "soft", text: facts.join(" · ") }));
    if (pending(one)) {
      const share = typeof one.progress === "object" && one.progress ? one.progress.done / Math.max(1, one.progress.total) : one.progress;
      row.append(el("progress", { max: 1, value: share ?? undefined, "aria-label": `Indexing ${one.name}` }));
    }
    const buttons = el("div", { class: "row-buttons" });
    const ask = () => {
      const yes = button("Delete it", () => this.#remove(one, buttons), { class: "danger", "aria-label": `Delete ${one.name} for good` });
      buttons.replaceChildren(yes, button("Keep", () => buttons.replaceChildren(first()), { "aria-label": `Keep ${one.name}` }));
      yes.focus();
    };
    const first = () => button("Delete", ask, { class: "quiet", "aria-label": `Delete ${one.name}` });
    buttons.append(first());
    row.append(buttons);
    const why = one.error && (typeof one.error === "string" ? one.error : [one.error.detail, one.error.hint].filter(Boolean).join(" "));
    if (why) row.append(el("span", { class: "failed", text: why }));
    return row;
  }

  async #remove(one, buttons) {
    for (const node of buttons.children) node.disabled = true;
    try {
      await api.deleteDocument(this.pipeline, one.id);
      this.texts.delete(`${this.pipeline}/${one.id}`);
      say(`${one.name} was deleted.`);
    } catch (problem) {
      showProblem(byId("documents-alert"), problem);
      this.rows.delete(one.id);
      return;
    }
    await this.refresh();
    byId("files").focus();
  }

  /** The text of the document that a passage comes from: {name, text}, or null if the service does not keep it. */
  async textOf(pipeline, passage, signal) {
    const list = pipeline === this.pipeline ? this.list : await api.documents(pipeline);
    const source = passage.source || "";
    const one = list.find((item) => item.id === passage.document) || list.find((item) => item.name === source)
      || list.find((item) => source.endsWith(`/${item.name}`));
    if (!one) return null;
    const key = `${pipeline}/${one.id}`;
    if (!this.texts.has(key)) this.texts.set(key, await api.documentText(pipeline, one.id, signal));
    return { name: one.name, text: this.texts.get(key) };
  }
}
