// Puts the page together.
import * as api from "./api.js";
import { Asking } from "./ask.js";
import { Details } from "./details.js";
import { Documents } from "./documents.js";
import { byId, el, showProblem } from "./dom.js";
import { shortcuts } from "./shortcuts.js";
import { themes } from "./theme.js";

const library = new Documents();
const details = new Details(library);
const asking = new Asking(details);

function show(part) {
  for (const name of ["ask", "documents"]) {
    byId(`${name}-view`).hidden = name !== part;
    if (name === part) byId(`show-${name}`).setAttribute("aria-current", "page");
    else byId(`show-${name}`).removeAttribute("aria-current");
  }
  if (part === "documents") library.refresh();
}

function wantKey() {
  byId("key-button").hidden = false;
  if (!byId("key-dialog").open) byId("key-dialog").showModal();
}

async function start() {
  let found = [];
  try {
    found = await api.pipelines();
  } catch (problem) {
    return showProblem(byId("alert"), problem);
  }
  showProblem(byId("alert"), found.length ? null : { title: "This service has no pipelines", detail: "Start it with the name of one." });
  asking.offer(found);
  const readers = found.filter((one) => (one.documents ?? one.searches) !== false);
  byId("library").replaceChildren(...readers.map((one) => el("option", { value: one.name, text: one.name })));
  byId("show-documents").hidden = readers.length === 0;
  if (readers.length) await library.use(readers.find((one) => one.name === asking.pipelines[0])?.name || readers[0].name);
}

themes(byId("theme-button"));
byId("show-ask").addEventListener("click", () => show("ask"));
byId("show-documents").addEventListener("click", () => show("documents"));
byId("key-button").addEventListener("click", wantKey);
byId("key-cancel").addEventListener("click", () => byId("key-dialog").close());
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  api.useKey(byId("key").value);
  byId("key").value = "";
  byId("key-dialog").close();
  start();
});
api.onKeyWanted(wantKey);

shortcuts({
  "/": () => {
    show("ask");
    byId("question").focus();
  },
  Escape: () => {
    if (asking.running.length) asking.stop();
    else if (details.open) details.close();
    else return false;
    return true;
  },
  j: () => details.moveSentence(1, asking.latest),
  k: () => details.moveSentence(-1, asking.latest),
  ArrowRight: () => details.open && details.moveToken(1),
  ArrowLeft: () => details.open && details.moveToken(-1),
  e: () => details.tab("evidence"),
  t: () => details.tab("token"),
  a: () => show("ask"),
  d: () => show("documents"),
  "?": () => byId("help-dialog").showModal(),
});

start();
