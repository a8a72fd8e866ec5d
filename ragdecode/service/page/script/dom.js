// Elements. Text from documents, questions and models only ever goes through textContent.
export const byId = (id) => document.getElementById(id);

/** An element with attributes (`text` and `class` by those names) and children. */
export function el(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "text") node.textContent = value;
    else if (key === "class") node.className = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** A button that does something. */
export function button(text, action, options = {}) {
  const node = el("button", { type: "button", text, ...options });
  node.addEventListener("click", action);
  return node;
}

/** Tell people who cannot see the page what happened. */
export function say(text) {
  byId("status").textContent = text;
}

/** Show what went wrong, and the way out; nothing clears it. */
export function showProblem(place, problem) {
  if (!problem) return place.replaceChildren();
  const lines = [el("p", {}, el("strong", { text: problem.title || "It did not work" }))];
  for (const text of [problem.detail, problem.hint]) if (text) lines.push(el("p", { text }));
  place.replaceChildren(el("div", { class: "problem" }, ...lines));
}

export const number = (value, digits = 0) =>
  Number(value).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** Bytes for people. */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  return bytes < 1e6 ? `${number(bytes / 1e3)} kB` : `${number(bytes / 1e6, 1)} MB`;
}
