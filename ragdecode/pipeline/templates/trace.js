"use strict";
// Draws the page from the JSON block. Text from documents and models only ever goes through textContent.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const TARGET = "with_context", WITHOUT = "without_context";
const NAMES = { composed: "composed", with_context: "with the evidence", without_context: "without the evidence" };
const COLUMNS = { with_context: "with", without_context: "without" };
const viewName = (view) => NAMES[view] || view;
const COLOURS = 5;

function el(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(options)) {
    if (key === "text") node.textContent = value;
    else if (key === "class") node.className = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}
function svg(tag, options = {}) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(options)) node.setAttribute(key, value);
  return node;
}
const probability = (logprob) => (logprob === null || logprob === undefined ? 0 : Math.exp(logprob));
function percent(logprob) {
  const value = 100 * probability(logprob);
  if (value >= 99.95) return "100 %";
  if (value >= 9.95) return value.toFixed(0) + " %";
  if (value >= 0.1) return value.toFixed(1) + " %";
  return value > 0 ? "< 0.1 %" : "0 %";
}
const duration = (seconds) => (seconds >= 1 ? seconds.toFixed(2) + " s" : (1000 * seconds).toFixed(0) + " ms");
const number = (value, digits = 0) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

// A token's text with its blanks made visible.
function visible(token) {
  const span = el("span");
  const text = data.texts[token];
  if (text === undefined) return el("span", { text: "#" + token });
  if (text === "") return el("span", { class: "glyph", text: "∅" });
  for (const piece of text.split(/( |\n|\t)/)) {
    const glyph = { " ": "␣", "\n": "↵", "\t": "⇥" }[piece];
    if (piece) span.append(glyph ? el("span", { class: "glyph", text: glyph }) : piece);
  }
  return span;
}
const plain = (token) => (data.texts[token] === undefined ? "#" + token : data.texts[token]);
const quoted = (token) => `“${plain(token).trim() || plain(token).replace(/\n/g, "↵").replace(/ /g, "␣")}”`;

// What decided a token: `evidence` (another choice without it), `rule` (another choice in the target view),
// `drawn` (not the most probable of the composed distribution: sampling, a penalty or a constraint).
function marks(token) {
  const best = token.alternatives.length ? token.alternatives[0].token : token.token;
  return {
    evidence: token.choices[WITHOUT] !== undefined && token.choices[WITHOUT] !== token.token,
    rule: token.choices[TARGET] !== undefined && token.choices[TARGET] !== best,
    drawn: best !== token.token,
    drafted: token.source !== "model",
  };
}
function verdict(token) {
  const is = marks(token);
  const parts = [];
  if (token.choices[WITHOUT] === undefined) parts.push("This run has no view without the evidence.");
  else if (is.evidence) parts.push(`Evidence changed this choice: without it the model would write ${quoted(token.choices[WITHOUT])}.`);
  else parts.push("The model would write this without the evidence, too.");
  if (is.rule) parts.push(`The rule changed it: the target view alone prefers ${quoted(token.choices[TARGET])}.`);
  if (is.drawn) parts.push("It is not the most probable token: sampling, the penalty or a constraint picked it.");
  return parts.join(" ");
}

const MODES = {
  evidence: { label: "Evidence", legend: () => [
    ["evidence", `evidence changed the choice (${count("evidence")})`],
    ["rule", `the rule overruled the target view (${count("rule")})`],
    ["drawn", `drawn or constrained, not the best (${count("drawn")})`]] },
  confidence: { label: "Confidence", legend: () => [["ramp", "composed probability, 0 to 100 %"]] },
  draft: { label: "Drafts", legend: () => [["drafted", `proposed by a drafter (${count("drafted")} of ${data.tokens.length})`]] },
};
const count = (mark) => data.tokens.filter((token) => marks(token)[mark]).length;
const spans = [];
let selected = -1;
let cursor = null;

function setMode(mode) {
  byId("answer").dataset.mode = mode;
  for (const button of byId("modes").children) {
    const on = button.dataset.mode === mode;
    button.setAttribute("aria-checked", String(on));
    button.tabIndex = on ? 0 : -1;
  }
  spans.forEach((span, i) => {
    const alpha = mode === "confidence" ? 0.5 * probability(data.tokens[i].logprob) : 0;
    span.style.backgroundColor = alpha ? `rgba(var(--sure), ${alpha.toFixed(3)})` : "";
  });
  byId("legend").replaceChildren(...MODES[mode].legend().map(([swatch, text]) =>
    el("li", {}, el("span", { class: "swatch " + swatch, "aria-hidden": "true" }), text)));
}
function drawModes() {
  const names = Object.keys(MODES);
  for (const name of names) {
    const button = el("button", { type: "button", role: "radio", text: MODES[name].label });
    button.dataset.mode = name;
    button.addEventListener("click", () => setMode(name));
    byId("modes").append(button);
  }
  byId("modes").addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!move) return;
    event.preventDefault();
    const at = names.indexOf(byId("answer").dataset.mode);
    const next = (at + move + names.length) % names.length;
    setMode(names[next]);
    byId("modes").children[next].focus();
  });
}

function drawAnswer() {
  const box = byId("answer");
  if (!data.tokens.length) box.append(el("span", { class: "empty", text: data.answer || "The answer is empty." }));
  data.tokens.forEach((token, i) => {
    const is = marks(token);
    const names = Object.keys(is).filter((name) => is[name]);
    const span = el("span", { role: "option", "aria-selected": "false", tabindex: "-1", class: ["tok", ...names].join(" ") });
    for (const piece of plain(token.token).split(/(\n)/)) {
      if (piece === "\n") span.append(el("span", { class: "glyph", text: "↵" }));
      span.append(piece);
    }
    if (!span.textContent) span.append(el("span", { class: "glyph", text: "∅" }));
    span.addEventListener("mouseenter", () => select(i, false));
    span.addEventListener("click", () => select(i, true));
    span.addEventListener("focus", () => select(i, false));
    spans.push(span);
    box.append(span);
  });
  box.addEventListener("keydown", (event) => {
    const to = { ArrowRight: selected + 1, ArrowLeft: selected - 1, Home: 0, End: spans.length - 1 }[event.key];
    if (to === undefined || to < 0 || to >= spans.length) return;
    event.preventDefault();
    select(to, true);
  });
}

function meter(name, logprob, colour, choice) {
  const fill = el("div", { class: `fill c${colour}` });
  fill.style.width = (100 * probability(logprob)).toFixed(2) + "%";
  const row = el("div", { class: "meter" }, el("span", { text: viewName(name) }), el("span", { class: "num", text: percent(logprob) }),
    el("div", { class: "track" }, fill));
  if (choice !== undefined) row.append(el("span", { class: "choice" }, "prefers ", visible(choice)));
  return row;
}
function alternatives(token) {
  const head = el("tr", {}, el("th", { scope: "col", text: "Token" }),
    ...["composed", ...data.views].map((view) => el("th", { scope: "col", title: viewName(view), text: COLUMNS[view] || view })));
  const rows = token.alternatives.map((item) => el("tr", item.token === token.token ? { class: "chosen" } : {},
    el("td", {}, visible(item.token)), el("td", { text: percent(item.logprob) }),
    ...data.views.map((view) => el("td", { text: percent(item.views[view]) }))));
  return el("div", { class: "scroll" }, el("table", {}, el("caption", { text: "Best tokens by composed probability, and in each view" }),
    el("thead", {}, head), el("tbody", {}, ...rows)));
}
// Who voted for a token: where it stands, what is around it, how far the states are, and its share of the votes.
const share = (value) => (100 * value).toFixed(value >= 0.0995 ? 0 : 1) + " %";
function neighbours(name, told) {
  const caption = `${name}: the votes weigh ${share(told.lambda)}; this token has ${share(told.votes)} of them`;
  const head = el("tr", {}, ...["Place", "Text", "Distance", "Share"].map((text) => el("th", { scope: "col", text })));
  const rows = told.neighbours.map((one) => {
    const known = [one.id, one.source].filter(Boolean).join(" · ");
    const place = known || (one.passage === undefined ? "" : `passage ${one.passage + 1}`);
    return el("tr", {}, el("td", { text: `${place}, token ${one.token}` }),
      el("td", {}, one.before, el("b", { text: one.behind })),
      el("td", { text: number(one.distance, 2) }), el("td", { text: share(one.mass) }));
  });
  return el("div", { class: "scroll" }, el("table", {}, el("caption", { text: caption }),
    el("thead", {}, head), el("tbody", {}, ...rows)));
}
function select(i, focus) {
  if (i !== selected) {
    if (selected >= 0) { spans[selected].setAttribute("aria-selected", "false"); spans[selected].tabIndex = -1; }
    selected = i;
    spans[i].setAttribute("aria-selected", "true");
    spans[i].tabIndex = 0;
    const token = data.tokens[i];
    const drafted = token.source !== "model";
    const nodes = [
      el("p", { class: "hero mono" }, visible(token.token)),
      el("p", { class: "place" }, `token ${token.position + 1} of ${data.tokens.length} · id ${token.token} · `,
        el("span", { class: drafted ? "badge drafted" : "badge", text: drafted ? "drafted by " + token.source : "from the model" })),
      el("p", { class: "verdict", text: verdict(token) }),
      meter("composed", token.logprob, 0),
      ...data.views.map((view, k) => meter(view, token.views[view], (k % (COLOURS - 1)) + 1, token.choices[view])),
    ];
    if (token.alternatives.length) nodes.push(alternatives(token));
    for (const [name, told] of Object.entries(token.rules || {})) if (told.neighbours) nodes.push(neighbours(name, told));
    byId("inspector").replaceChildren(...nodes);
    if (cursor) { cursor.setAttribute("x1", i + 0.5); cursor.setAttribute("x2", i + 0.5); }
  }
  if (focus) spans[i].focus();
}

function drawChart() {
  const n = data.tokens.length;
  if (n < 2) { byId("chart-figure").hidden = true; return; }
  const picture = svg("svg", { viewBox: `0 0 ${n} 100`, preserveAspectRatio: "none", role: "img", "aria-label": "Probability of each token in each view" });
  for (const y of [0, 50, 100]) picture.append(svg("line", { class: "grid", x1: 0, x2: n, y1: y, y2: y }));
  const caption = byId("chart-caption");
  caption.append("Probability of the written token, 0 to 100 %");
  data.views.forEach((view, k) => {
    const colour = (k % (COLOURS - 1)) + 1;
    const points = data.tokens.map((token, i) => `${i + 0.5},${(100 - 100 * probability(token.views[view])).toFixed(2)}`);
    picture.append(svg("polyline", { class: `series s${colour}`, points: points.join(" ") }));
    caption.append(el("span", {}, el("i", { class: `c${colour}` }), viewName(view)));
  });
  cursor = svg("line", { class: "cursor", x1: 0.5, x2: 0.5, y1: 0, y2: 100 });
  picture.append(cursor);
  const hit = svg("rect", { class: "hit", x: 0, y: 0, width: n, height: 100 });
  const at = (event) => {
    const box = picture.getBoundingClientRect();
    return Math.min(n - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * n)));
  };
  hit.addEventListener("mousemove", (event) => select(at(event), false));
  hit.addEventListener("click", (event) => select(at(event), true));
  picture.append(hit);
  byId("chart").append(picture);
}

function fact(value, label) { return el("div", {}, el("b", { text: value }), el("span", { text: label })); }
function drawFacts() {
  const s = data.stats;
  const facts = [fact(number(s.new_tokens), "tokens"), fact(number(s.tokens_per_second, 1), "tokens a second"),
    fact(number(s.mean_accepted, 2), "tokens a pass"), fact(data.finish_reason, "ended by")];
  if (data.views.includes(WITHOUT)) facts.splice(1, 0, fact(number(count("evidence")), "choices changed by evidence"));
  byId("facts").append(...facts);
}
function drawTimings() {
  const stages = Object.entries(data.stats.seconds);
  const total = stages.reduce((sum, [, seconds]) => sum + seconds, 0);
  const bar = el("div", { class: "stack", "aria-hidden": "true" });
  const list = el("dl", { class: "times" });
  stages.forEach(([name, seconds], k) => {
    const colour = "c" + ((k + 1) % COLOURS);
    if (seconds > 0) {
      const part = el("div", { class: colour });
      part.style.flexGrow = String(seconds);
      bar.append(part);
    }
    list.append(el("dt", {}, el("i", { class: colour }), name), el("dd", { text: duration(seconds) }));
  });
  list.append(el("dt", { text: "together" }), el("dd", { text: duration(total) }));
  byId("timings").append(bar, list);
}
function drawStats() {
  const s = data.stats;
  const rows = [["prompt tokens", number(s.prompt_tokens)], ["steps", number(s.steps)], ["forward passes", number(s.forward_passes)],
    ["rows advanced", number(s.forward_rows)], ["draft tokens verified", number(s.drafted)], ["draft tokens accepted", number(s.accepted)]];
  for (const [name, used] of Object.entries(s.sources))
    rows.push([`from ${name}`, Object.entries(used).map(([what, value]) => `${number(value)} ${what}`).join(", ")]);
  for (const [name, value] of rows) byId("stats").append(el("dt", { text: name }), el("dd", { text: value }));
}
function drawPassages() {
  if (!data.passages.length) byId("passages").append(el("li", { class: "empty", text: "No passages." }));
  for (const passage of data.passages) {
    const head = el("summary", {}, el("b", { text: `${passage.rank}. ${passage.source || passage.id}` }),
      el("span", { class: "place", text: passage.place }), el("span", { class: "score", text: "score " + passage.score.toPrecision(4) }));
    const box = el("details", passage.rank === 1 ? { open: "" } : {}, head, el("p", { class: "text", text: passage.text }));
    byId("passages").append(el("li", {}, box));
  }
}
function drawSentences() {
  const judged = data.sentences.some((sentence) => sentence.faithfulness !== null);
  byId("sentences-section").hidden = !judged;
  for (const sentence of judged ? data.sentences : []) {
    const unscored = sentence.faithfulness === null;
    const verdict = unscored ? "not scored" : `${sentence.faithful ? "faithful" : "unfaithful"} ${sentence.faithfulness.toFixed(2)}`;
    const head = el("summary", {}, el("b", { class: sentence.faithful === false ? "unfaithful" : "", text: sentence.text }),
      el("span", { class: "score", text: verdict }));
    const found = sentence.evidence.map((one) => el("p", { class: "text", text: `[${one.number}] ${one.text}` }));
    if (!found.length) found.push(el("p", { class: "text empty", text: "No passage supports it." }));
    byId("sentences").append(el("li", {}, el("details", {}, head, ...found)));
  }
}
function drawPrompts() {
  const prompts = Object.entries(data.prompts);
  if (!prompts.length) byId("prompts").append(el("p", { class: "empty", text: "Not recorded." }));
  for (const [view, text] of prompts)
    byId("prompts").append(el("details", {}, el("summary", {}, el("b", { text: viewName(view) }), el("span", { class: "place", text: view })),
      el("pre", { class: "text", text })));
}

byId("question").textContent = data.question || data.pipeline;
byId("headline").textContent = data.headline;
byId("notes-section").hidden = !data.notes.length;
byId("notes").append(...data.notes.map((text) => el("li", { text })));
drawFacts();
drawModes();
drawAnswer();
drawChart();
drawSentences();
drawPassages();
drawTimings();
drawStats();
drawPrompts();
setMode("evidence");
if (spans.length) select(Math.max(0, data.tokens.findIndex((token) => marks(token).evidence)), false);
