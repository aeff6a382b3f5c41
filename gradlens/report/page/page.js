// What is added to a page that can be read without: sorting, one scale or each its own, light and dark.
"use strict";

/** A cell's number, or its text in lower case; null where it is missing. */
function keyOf(cell, isNumber) {
  const text = cell.textContent;
  if (text === "–") return null;
  return isNumber ? Number(text.replaceAll("−", "-")) : text;
}

/** Sort a table by one of its headings: numbers from the largest, text from A; again, the other way round. */
function sortBy(heading) {
  const isNumber = heading.classList.contains("number");
  const first = isNumber ? "descending" : "ascending";
  const order = heading.ariaSort === first ? (isNumber ? "ascending" : "descending") : first;
  for (const other of heading.parentElement.cells) other.ariaSort = null;
  heading.ariaSort = order;
  const alphabet = new Intl.Collator("en", { numeric: true });
  const turn = order === "ascending" ? 1 : -1;
  const body = heading.closest("table").tBodies[0];
  const rows = Array.from(body.rows, (row) => [keyOf(row.cells[heading.cellIndex], isNumber), row]);
  // The missing ones come last either way, and equal ones stay as they were.
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return turn * (isNumber ? a - b : alphabet.compare(a, b));
  });
  body.append(...rows.map(([, row]) => row));
}

for (const button of document.querySelectorAll(".images thead button")) {
  button.addEventListener("click", () => sortBy(button.parentElement));
}

document.getElementById("own-scale")?.addEventListener("change", (event) => {
  for (const image of document.querySelectorAll("img[data-own]")) {
    image.dataset.shared ??= image.src;
    image.src = event.target.checked ? image.dataset.own : image.dataset.shared;
  }
});

// The button names what it would change to.
const system = matchMedia("(prefers-color-scheme: dark)");
const root = document.documentElement;
const theme = document.getElementById("theme");
const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
const nameTheme = () => (theme.textContent = isDark() ? "Light" : "Dark");
theme.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  nameTheme();
});
system.addEventListener("change", nameTheme);
theme.hidden = false;
nameTheme();
