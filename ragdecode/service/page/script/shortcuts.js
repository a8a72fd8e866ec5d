// Keys that work wherever no text is being written.
import { byId } from "./dom.js";

const writing = (node) => node.matches?.("input:not([type=file]), textarea, select") || node.isContentEditable;

/** @param actions What the keys do, by key. `Escape` works while writing, too. */
export function shortcuts(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const action = actions[event.key];
    if (!action || (event.key !== "Escape" && writing(event.target))) return;
    // arrows belong to whoever has the focus, unless it is a sentence, the token pane or nothing
    if (event.key.startsWith("Arrow") && !(event.target === document.body || event.target.closest?.(".sentence, #panel-token"))) return;
    if (action() !== false) event.preventDefault();
  });
  byId("help-button").addEventListener("click", () => byId("help-dialog").showModal());
}
