// A token: what the model believed with and without the evidence, who drafted it, which neighbours voted.
import { button, el, number } from "./dom.js";

const WITH = "with_context", WITHOUT = "without_context";
const NAMES = { [WITH]: "with the evidence", [WITHOUT]: "without the evidence" };
const COLUMNS = { [WITH]: "with", [WITHOUT]: "without" };
const viewName = (view) => NAMES[view] || view;
const colour = (view) => ({ [WITH]: "with", [WITHOUT]: "without" })[view] || "third";

const probability = (logprob) => (logprob === null || logprob === undefined ? 0 : Math.exp(logprob));
function percent(logprob) {
  const value = 100 * probability(logprob);
  if (value >= 99.95) return "100 %";
  if (value >= 9.95) return `${value.toFixed(0)} %`;
  if (value >= 0.1) return `${value.toFixed(1)} %`;
  return value > 0 ? "< 0.1 %" : "0 %";
}
const share = (value) => `${(100 * value).toFixed(value >= 0.0995 ? 0 : 1)} %`;

// Blanks are made visible.
function visible(text) {
  if (text === undefined) return el("span", { class: "glyph", text: "?" });
  if (text === "") return el("span", { class: "glyph", text: "∅" });
  const span = el("span");
  for (const piece of text.split(/( |\n|\t)/)) {
    const glyph = { " ": "␣", "\n": "↵", "\t": "⇥" }[piece];
    if (piece) span.append(glyph ? el("span", { class: "glyph", text: glyph }) : piece);
  }
  return span;
}

export class TokenView {
  /** @param move Called with the number of the token to go to. */
  constructor(panel, move) {
    Object.assign(this, { panel, move });
  }

  empty() {
    this.panel.replaceChildren(el("p", { class: "soft", text: "Choose a word of an answer to see what stood behind it." }));
  }

  show(view, index) {
    const { answer } = view;
    const token = answer.tokens[index];
    if (!token) {
      const text = answer.record ? "Choose a word of the answer." : "The tokens can be looked into once the answer is complete.";
      return this.panel.replaceChildren(el("p", { class: "soft", text }));
    }
    const textOf = (id) => answer.texts[id];
    const known = token.source !== undefined;
    const drafted = known && token.source !== "model";
    const nodes = [
      this.#steps(index, answer.tokens.length),
      el("p", { class: "hero mono" }, visible(textOf(token.token))),
      el("p", { class: "place" }, `token ${index + 1} of ${answer.tokens.length} `,
        known ? el("span", { class: drafted ? "badge drafted" : "badge", text: drafted ? `drafted by ${token.source}` : "from the model" }) : null),
    ];
    if (Object.keys(token.views).length) nodes.push(el("p", { class: "verdict", text: decided(token, textOf) }));
    nodes.push(meter("as decided", token.logprob, ""));
    for (const name of answer.views) if (name in token.views) nodes.push(meter(viewName(name), token.views[name], colour(name), token.choices[name], textOf));
    if (token.alternatives.length) nodes.push(alternatives(token, answer.views, textOf));
    for (const [name, told] of Object.entries(token.rules)) if (told.neighbours) nodes.push(neighbours(name, told));
    nodes.push(...drafts(answer));
    this.panel.replaceChildren(...nodes);
  }

  #steps(index, count) {
    const step = (text, label, to) => button(text, () => {
      this.move(to);
      this.panel.querySelector(`[aria-label="${label}"]`)?.focus();
    }, { "aria-label": label, disabled: to < 0 || to >= count });
    return el("div", { class: "steps" }, step("←", "Token before", index - 1), step("→", "Next token", index + 1));
  }
}

function decided(token, textOf) {
  const quoted = (id) => `“${(textOf(id) ?? "?").trim() || (textOf(id) ?? "").replace(/\n/g, "↵").replace(/ /g, "␣")}”`;
  const parts = [];
  if (token.choices[WITHOUT] === undefined) parts.push("This pipeline has no view without the evidence.");
  else if (token.choices[WITHOUT] !== token.token) parts.push(`The evidence changed this choice: without it the model would write ${quoted(token.choices[WITHOUT])}.`);
  else parts.push("The model would write this without the evidence, too.");
  const best = token.alternatives.length ? token.alternatives[0].token : token.token;
  if (token.choices[WITH] !== undefined && token.choices[WITH] !== best) parts.push(`The rule changed it: with the evidence alone the model prefers ${quoted(token.choices[WITH])}.`);
  if (best !== token.token) parts.push("It is not the most probable token: sampling, a penalty or a constraint picked it.");
  return parts.join(" ");
}

function meter(name, logprob, kind, choice, textOf) {
  const fill = el("div", { class: `fill ${kind}` });
  fill.style.width = `${(100 * probability(logprob)).toFixed(2)}%`;
  const row = el("div", { class: "meter" }, el("span", { text: name }), el("span", { text: percent(logprob) }),
    el("div", { class: "track", "aria-hidden": "true" }, fill));
  if (choice !== undefined) row.append(el("span", { class: "soft" }, "prefers ", visible(textOf(choice))));
  return row;
}

function table(caption, heads, rows) {
  return el("div", { class: "scroll" }, el("table", {}, el("caption", { text: caption }),
    el("thead", {}, el("tr", {}, ...heads.map((text) => el("th", { scope: "col", text })))), el("tbody", {}, ...rows)));
}

function alternatives(token, views, textOf) {
  return table("The best tokens, and what each view gives them", ["Token", "decided", ...views.map((view) => COLUMNS[view] || view)],
    token.alternatives.map((item) => el("tr", { class: item.token === token.token ? "chosen" : null },
      el("td", {}, visible(textOf(item.token))), el("td", { text: percent(item.logprob) }),
      ...views.map((view) => el("td", { text: percent(item.views[view]) })))));
}

function neighbours(name, told) {
  const caption = `Neighbours (${name}): the votes weigh ${share(told.lambda)}; this token has ${share(told.votes)} of them`;
  return table(caption, ["Place", "Text", "Distance", "Share"], told.neighbours.map((one) => {
    const place = [one.id, one.source].filter(Boolean).join(" · ") || (one.passage === undefined ? "" : `passage ${one.passage + 1}`);
    return el("tr", {}, el("td", { text: `${place}, token ${one.token}` }),
      el("td", { class: "words" }, one.before, el("b", { text: one.behind })),
      el("td", { text: number(one.distance, 2) }), el("td", { text: share(one.mass) }));
  }));
}

// Which drafters spoke in this answer, and how often they were right.
function drafts(answer) {
  const sources = Object.entries(answer.record?.stats.sources || {});
  if (!sources.length) return [];
  const heads = [...new Set(sources.flatMap(([, used]) => Object.keys(used)))];
  return [table("Drafters of this answer", ["Drafter", ...heads], sources.map(([name, used]) =>
    el("tr", {}, el("td", { text: name }), ...heads.map((what) => el("td", { text: number(used[what] ?? 0) })))))];
}
