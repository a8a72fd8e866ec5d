"use strict";
// What every report page does: contents, choosers of panels, sortable tables. Texts only ever go through textContent.
const data = JSON.parse(document.getElementById("data").textContent);
function el(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(options)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "text") node.textContent = value;
    else if (key === "class") node.className = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}
function drawContents() {
  const list = document.getElementById("contents");
  for (const section of document.querySelectorAll("main > section[data-title]"))
    list.append(el("li", {}, el("a", { href: "#" + section.id, text: section.dataset.title })));
}
// A form with selects named NAME shows, of the panels of its group, those whose data-NAME are the chosen values.
function startChoosers() {
  for (const form of document.querySelectorAll("form[data-group]")) {
    // not form.dataset: a select may be named so
    const panels = [...document.querySelectorAll(`[data-panel="${form.getAttribute("data-group")}"]`)];
    const selects = [...form.querySelectorAll("select")];
    const show = () => {
      for (const panel of panels) panel.hidden = !selects.every((select) => panel.dataset[select.name] === select.value);
    };
    form.hidden = false;
    form.addEventListener("change", show);
    form.addEventListener("submit", (event) => event.preventDefault());
    show();
  }
}
function startSorting() {
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = el("button", { type: "button", text: head.textContent });
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") !== "descending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = (row) => {
          const cell = row.cells[column];
          return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
        };
        const rows = [...table.tBodies[0].rows];
        rows.sort((one, other) => {
          const [a, b] = [key(one), key(other)];
          if (a !== null && b !== null) return down ? b - a : a - b;
          if (a !== null || b !== null) return a === null ? 1 : -1;
          const order = one.cells[column].textContent.localeCompare(other.cells[column].textContent);
          return down ? -order : order;
        });
        table.tBodies[0].append(...rows);
      });
    });
  }
}
drawContents();
startChoosers();
startSorting();
