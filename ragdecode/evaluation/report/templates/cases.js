// Cases: filtered, sorted and drawn from the page's data. Every text goes through textContent.
const BATCH = 40;
const whole = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const shown = (value) => (value === null || value === undefined ? "–" : whole.format(value));
const SVG = "http://www.w3.org/2000/svg";

// The swatches of the page's headlines, drawn once by the page itself, are copied.
const swatches = [...document.querySelectorAll("#pipelines .swatch")];
function swatch(system) {
  const node = swatches[system];
  return node ? node.cloneNode(true) : document.createElementNS(SVG, "svg");
}

// Offsets count characters, as Python does; JavaScript's count halves of those beyond the first 65,536.
function places(text) {
  if (!/[\ud800-\udfff]/.test(text)) return (offset) => Math.min(offset, text.length);
  const found = [0];
  for (const one of text) found.push(found[found.length - 1] + one.length);
  return (offset) => found[Math.min(offset, found.length - 1)];
}
// A text with ranges marked: [start, end, class]; where several overlap, a piece has all their classes.
function marked(text, ranges) {
  const borders = [...new Set([0, text.length, ...ranges.flatMap(([start, end]) => [start, end])])].sort((a, b) => a - b);
  const node = el("div", { class: "body", dir: "auto" });
  for (let at = 0; at + 1 < borders.length; at++) {
    const [from, to] = [borders[at], borders[at + 1]];
    const looks = ranges.filter(([start, end]) => start <= from && to <= end).map((range) => range[2]);
    const piece = text.slice(from, to);
    node.append(looks.length ? el("mark", { class: [...new Set(looks)].join(" "), text: piece }) : piece);
  }
  return node;
}
function found(text, words) {
  const ranges = [];
  for (const word of words) {
    if (!word.trim()) continue;
    const wanted = new RegExp(word.trim().replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "giu");
    for (const hit of text.matchAll(wanted)) ranges.push([hit.index, hit.index + hit[0].length]);
  }
  return ranges;
}

const filter = document.getElementById("case-filter");
const list = document.getElementById("case-list");
const more = document.getElementById("case-more");
const count = document.getElementById("case-count");
let chosen = [];
let drawn = 0;

const values = (one, metric) => one.answers.map((answer) => answer.metrics[metric]).filter((value) => value !== null && value !== undefined);
const spread = (one, metric) => { const known = values(one, metric); return known.length ? Math.max(...known) - Math.min(...known) : -1; };
const lowest = (one) => Math.min(2, ...one.answers.flatMap((answer) => answer.sentences.map((sentence) => sentence.score ?? 2)));
const unsupported = (answer) => answer.sentences.some((sentence) => sentence.bad);
// How good a value is, higher is better, whatever the metric.
const good = (value, metric) => (value === null || value === undefined ? null : data.metrics[metric].up ? value : -value);
const SHOW = {
  all: ["all", () => true],
  unsupported: ["with unsupported sentences", (answers) => answers.some(unsupported)],
  failed: ["with failures", (answers) => answers.some((answer) => answer.error)],
  wrong: ["metric below 0.5", (answers, metric) => answers.some((answer) => answer.metrics[metric] !== null && answer.metrics[metric] < 0.5)],
  differ: ["where the metric differs", (answers, metric, one) => spread(one, metric) > 0],
  worse: ["worse than the first pipeline", (answers, metric, one) => {
    const first = one.answers.filter((answer) => answer.system === 0).map((answer) => good(answer.metrics[metric], metric)).filter((value) => value !== null);
    return first.length > 0 && answers.some((answer) => answer.system && good(answer.metrics[metric], metric) !== null && good(answer.metrics[metric], metric) < Math.min(...first));
  }],
};
const SORT = {
  order: ["as in the data set", null],
  spread: ["largest difference first", (one, metric) => -spread(one, metric)],
  worst: ["worst value first", (one, metric) => Math.min(...values(one, metric).map((value) => good(value, metric)), Infinity)],
  faithful: ["least faithful first", lowest],
};

function select(name, label, choices) {
  const options = choices.map(([value, text]) => el("option", { value, text }));
  return el("label", { hidden: choices.length < 2 }, label, el("select", { name }, ...options));
}
function drawFilter() {
  filter.append(
    el("label", {}, "search", el("input", { type: "search", name: "words", placeholder: "question, answer, reference, id" })),
    select("show", "show", Object.entries(SHOW).filter(([name]) => data.metrics.length || !["wrong", "differ", "worse"].includes(name)).map(([name, [text]]) => [name, text])),
    select("system", "of pipeline", [["", "any"], ...data.systems.map((name, at) => [String(at), name])]),
    select("dataset", "data set", [["", "all"], ...data.datasets.map((name) => [name, name])]),
    select("metric", "metric", data.metrics.map((one, at) => [String(at), one.title])),
    select("sort", "order", Object.entries(SORT).map(([name, [text]]) => [name, text])),
  );
  if (data.metrics.length) filter.elements.metric.value = String(data.metric);
  filter.hidden = false;
  filter.addEventListener("submit", (event) => event.preventDefault());
  filter.addEventListener("input", choose);
}
function choose() {
  const field = (name) => filter.elements[name].value;
  const words = field("words").toLowerCase().split(/\s+/).filter(Boolean);
  const metric = Number(field("metric") || 0);
  const test = SHOW[field("show")][1];
  const ofSystem = (one) => (field("system") === "" ? one.answers : one.answers.filter((answer) => answer.system === Number(field("system"))));
  chosen = data.cases.filter((one) => {
    if (field("dataset") && one.dataset !== field("dataset")) return false;
    const answers = ofSystem(one);
    if (!answers.length || !test(answers, metric, one)) return false;
    if (!words.length) return true;
    one.text ??= [one.id, one.question, ...one.references, ...one.answers.map((answer) => answer.text ?? answer.error?.message ?? "")].join("\n").toLowerCase();
    return words.every((word) => one.text.includes(word));
  });
  const key = SORT[field("sort")][1];
  if (key) chosen = chosen.map((one) => [key(one, metric), one]).sort((a, b) => a[0] - b[0]).map((pair) => pair[1]);
  count.textContent = `${chosen.length} of ${data.cases.length} questions`;
  list.replaceChildren();
  drawn = 0;
  drawMore();
}
function drawMore() {
  const metric = Number(filter.elements.metric?.value || 0);
  for (const one of chosen.slice(drawn, drawn + BATCH)) list.append(caseOf(one, metric));
  drawn = Math.min(chosen.length, drawn + BATCH);
  more.hidden = drawn >= chosen.length;
}
function caseOf(one, metric) {
  const chips = one.answers.map((answer) => {
    const told = answer.error ? "failed" : data.metrics.length ? shown(answer.metrics[metric]) : "answered";
    const badge = unsupported(answer) ? el("span", { class: "badge bad", text: "unsupported" }) : null;
    return el("span", { class: "chip", title: data.systems[answer.system] }, swatch(answer.system), told, badge);
  });
  const head = el("button", { type: "button", "aria-expanded": "false" },
    el("span", { class: "q", text: one.question, dir: "auto" }),
    el("span", { class: "where", text: `${one.dataset} ${one.id}` }),
    el("span", { class: "chips" }, ...chips));
  const item = el("li", { class: "case" }, head);
  head.addEventListener("click", () => {
    const open = head.getAttribute("aria-expanded") === "true";
    head.setAttribute("aria-expanded", String(!open));
    if (open) item.querySelector(".open").remove();
    else item.append(opened(one));
  });
  return item;
}
function opened(one) {
  const evidence = el("ul", { class: "passages" });
  const answers = el("div", { class: "answers" });
  const state = { answer: null, sentence: null };
  const show = () => {
    for (const button of answers.querySelectorAll(".sentence"))
      button.setAttribute("aria-pressed", String(button.dataset.key === state.key));
    drawEvidence(evidence, one, state);
  };
  for (const answer of one.answers) answers.append(answerOf(one, answer, state, show));
  const references = one.references.length
    ? el("p", {}, el("span", { class: "soft", text: "expected: " }), el("mark", { class: "ref", text: one.references.join(" · ") }))
    : null;
  show();
  const title = data.passages.length && one.answers.some((answer) => answer.passages.length) ? el("h4", { text: "Evidence" }) : null;
  return el("div", { class: "open" }, one.question.length > 100 ? el("p", { class: "body", dir: "auto", text: one.question }) : null, references, legend(one), answers, title, evidence);
}
function legend(one) {
  const items = [];
  if (one.answers.some((answer) => answer.sentences.some((sentence) => sentence.score !== null))) {
    items.push(el("li", {}, el("span", { class: "sentence unsupported", text: "not held by the evidence" })));
    items.push(el("li", {}, el("span", { class: "sentence supported", text: "held by it" })));
    items.push(el("li", {}, el("mark", { class: "found", text: "evidence of a sentence" })));
  }
  if (one.references.length) items.push(el("li", {}, el("mark", { class: "ref", text: "an expected answer" })));
  return items.length ? el("ul", { class: "legend" }, ...items) : null;
}
function answerOf(one, answer, state, show) {
  const several = one.answers.filter((other) => other.system === answer.system).length > 1;
  const head = el("header", {}, swatch(answer.system), el("b", { text: data.systems[answer.system] + (several ? `, seed ${answer.seed}` : "") }),
    answer.finish && answer.finish !== "stop" ? el("span", { class: "badge", text: answer.finish }) : null);
  if (answer.error)
    return el("article", { class: "answer" }, head, el("p", { class: "bad", text: `failed (${answer.error.kind}): ${answer.error.message}` }));
  const text = answer.text ?? "";
  const body = el("div", { class: "body", dir: "auto" });
  const at = places(text);
  let before = 0;
  answer.sentences.forEach((sentence, number) => {
    const [from, to] = [at(sentence.start), at(sentence.end)];
    if (from < before || to <= from) return;
    if (from > before) body.append(text.slice(before, from));
    body.append(sentenceOf(one, answer, sentence, number, text.slice(from, to), state, show));
    before = to;
  });
  body.append(text.slice(before));
  if (!text.trim()) body.replaceChildren(el("span", { class: "soft", text: "(empty answer)" }));
  const figures = el("dl", { class: "pairs" });
  const tell = (name, value) => figures.append(el("dt", { text: name }), el("dd", { text: shown(value) }));
  data.metrics.forEach((metric, place) => tell(metric.title, answer.metrics[place]));
  if (answer.confidence !== null && answer.confidence !== undefined) tell("confidence", answer.confidence);
  if (answer.tokens !== null && answer.tokens !== undefined) tell("tokens", answer.tokens);
  if (answer.seconds !== null && answer.seconds !== undefined) tell("seconds", answer.seconds);
  const choices = answer.choices.length
    ? el("dl", { class: "pairs" }, ...answer.choices.flatMap((choice) => [el("dt", { text: choice.text }), el("dd", { text: shown(choice.logprob) })]))
    : null;
  return el("article", { class: "answer" }, head, body, strip(answer), choices, figures,
    ...answer.notes.map((note) => el("p", { class: "small", text: note })));
}
function sentenceOf(one, answer, sentence, number, text, state, show) {
  const key = `${one.answers.indexOf(answer)}.${number}`;
  const look = sentence.bad === null ? "" : sentence.bad ? " unsupported" : " supported";
  const told = sentence.score === null ? "not scored" : `faithfulness ${shown(sentence.score)}` + (sentence.bad ? ", not held by the evidence" : "");
  const node = el("span", { class: "sentence" + look, role: "button", tabindex: "0", title: told, "aria-pressed": "false", text });
  node.dataset.key = key;
  const press = () => {
    const own = state.key !== key;
    Object.assign(state, own ? { key, answer, sentence } : { key: null, answer: null, sentence: null });
    show();
  };
  node.addEventListener("click", press);
  node.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    press();
  });
  return node;
}
function strip(answer) {
  if (!answer.sentences.some((sentence) => sentence.score !== null)) return null;
  const parts = answer.sentences.map((sentence) => {
    const step = sentence.score === null ? "v" : "v" + Math.min(4, Math.max(0, Math.floor(sentence.score * 5)));
    const part = el("span", { class: step, title: sentence.score === null ? "not scored" : `faithfulness ${shown(sentence.score)}` });
    part.style.flexGrow = String(Math.max(1, sentence.end - sentence.start));
    return part;
  });
  return el("div", { class: "strip", role: "img", "aria-label": "faithfulness sentence by sentence" }, ...parts);
}
function drawEvidence(node, one, state) {
  const opened = new Set([...node.querySelectorAll("details[open]")].map((details) => details.dataset.passage));
  const first = !node.childElementCount;
  const order = [...new Set(one.answers.flatMap((answer) => answer.passages))];
  node.replaceChildren(...order.map((place, rank) => {
    const passage = data.passages[place];
    const at = places(passage.text);
    const ranges = found(passage.text, one.references).map(([start, end]) => [start, end, "ref"]);
    const answers = state.answer ? [state.answer] : one.answers;
    for (const answer of answers)
      for (const sentence of answer.sentences)
        for (const [where, start, end] of sentence.evidence)
          if (where === place) ranges.push([at(start), at(end), sentence === state.sentence ? "found own" : "found"]);
    const seen = [...new Set(one.answers.filter((answer) => answer.passages.includes(place)).map((answer) => answer.system))];
    const supports = state.sentence && state.sentence.by.includes(place);
    const details = el("details", {},
      el("summary", {}, ...(seen.length < new Set(one.answers.map((answer) => answer.system)).size ? seen.flatMap((system) => [swatch(system), " "]) : []),
        `${passage.source || passage.id}`, supports ? " " : null, supports ? el("span", { class: "badge", text: "supports the sentence" }) : null),
      marked(passage.text, ranges.filter(([start, end]) => end > start)));
    details.dataset.passage = String(place);
    details.open = opened.has(String(place)) || (first && rank < 2) || Boolean(supports) || ranges.some((range) => range[2] === "found own");
    return el("li", {}, details);
  }));
}
if (filter) {
  drawFilter();
  more.addEventListener("click", drawMore);
  choose();
}
