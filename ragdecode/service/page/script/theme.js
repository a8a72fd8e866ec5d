// Light, dark, or as the system says.
import { el } from "./dom.js";

const ORDER = ["system", "light", "dark"];
const SIGNS = { system: "◐", light: "☀", dark: "☾" };
const NAMES = { system: "Auto", light: "Light", dark: "Dark" };

const current = () => document.documentElement.dataset.theme || "system";

function show(button, theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  button.replaceChildren(`${SIGNS[theme]} `, el("span", { class: "theme-name", text: NAMES[theme] }));
  button.setAttribute("aria-label", `Colours: ${theme}. Change`);
}

/** Let a button go round the themes; the choice is kept in this browser. */
export function themes(button) {
  show(button, current());
  button.addEventListener("click", () => {
    const next = ORDER[(ORDER.indexOf(current()) + 1) % ORDER.length];
    show(button, next);
    try {
      localStorage.setItem("ragdecode-theme", next);
    } catch {
      // kept for this visit only
    }
  });
}
