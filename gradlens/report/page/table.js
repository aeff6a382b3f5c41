// The table of all images: only the rows in view are in the document.

const ROW_HEIGHT = 30;
// Characters of a cell.
const LONGEST = 34;
// The width of a character in font sizes, room for −1.234e−56, pixels beside a cell's text, rows looked at for widths.
const LETTER = 0.6;
const NUMBER_LENGTH = 10;
const PADDING = 24;
const SAMPLE = 200;
// Rows drawn above and below the view, and pixels that browsers lay out without trouble.
const SPARE = 6;
const MOST_PIXELS = 8e6;

/** A run's rows: which are chosen, in which order, and the part of them in view. */
class Table {
  constructor(box, pictures, open) {
    this.box = box;
    this.head = box.querySelector("thead tr");
    this.body = box.querySelector("tbody.rows");
    this.spaces = [box.querySelector("tbody.above td"), box.querySelector("tbody.below td")];
    this.pictures = pictures;
    this.open = open;
    this.sort = { name: null, descending: false };
    this.shown = null;
    this.current = 0;
    box.addEventListener("scroll", () => requestAnimationFrame(() => this.draw()));
    box.addEventListener("keydown", (event) => this.move(event));
    box.addEventListener("click", (event) => this.clicked(event));
    new ResizeObserver(() => this.draw()).observe(box);
  }

  /** Show another run with the same columns, order and conditions, as far as it has them. */
  async use(run) {
    this.run = run;
    this.shown ??= run.columns.filter((column) => column.shownAtFirst).map((column) => column.name);
    this.chosen = Uint32Array.from({ length: run.rows }, (_, row) => row);
    await this.layOut();
  }

  column(name) {
    return this.run.columns.find((column) => column.name === name);
  }

  get columns() {
    return this.run.columns.filter((column) => this.shown.includes(column.name));
  }

  /** Choose the columns to show. */
  async show(names) {
    this.shown = names;
    await this.layOut();
  }

  async layOut() {
    await Promise.all(this.columns.map((column) => column.load()));
    this.head.replaceChildren(...this.columns.map((column) => this.heading(column)));
    this.widen();
    for (const space of this.spaces) space.colSpan = this.columns.length;
    this.box.querySelector("table").setAttribute("aria-colcount", this.columns.length);
    this.draw();
  }

  /** Fix the columns' widths, by their names and a sample of rows, so that they stay when rows go by. */
  widen() {
    const letter = LETTER * parseFloat(getComputedStyle(this.box.querySelector("table")).fontSize);
    const step = Math.max(1, Math.floor(this.run.rows / SAMPLE));
    const widths = this.columns.map((column, k) => {
      let most = Math.max(column.name.length + 2, ["float", "double"].includes(column.kind) ? NUMBER_LENGTH : 0);
      for (let row = 0; row < this.run.rows; row += step) most = Math.max(most, column.shown(row).length);
      const picture = k === 0 && this.run.cards.size ? ROW_HEIGHT : 0;
      return Math.ceil(Math.min(most, LONGEST) * letter + PADDING + picture);
    });
    const made = widths.map((width) => {
      const column = element("col");
      column.style.width = `${width}px`;
      return column;
    });
    this.box.querySelector("colgroup").replaceChildren(...made);
    this.box.querySelector("table").style.width = `${widths.reduce((a, b) => a + b, 0)}px`;
  }

  heading(column) {
    const cell = element("th", { scope: "col", className: column.kind });
    const sorted = this.sort.name === column.name;
    cell.ariaSort = sorted ? (this.sort.descending ? "descending" : "ascending") : "none";
    const arrow = sorted ? (this.sort.descending ? "▼" : "▲") : "";
    const button = element("button", { type: "button", title: column.meaning }, column.name);
    button.append(element("span", { className: "arrow", ariaHidden: "true" }, arrow));
    button.addEventListener("click", () => this.sortBy(column.name));
    cell.append(button);
    return cell;
  }

  /** Largest first, then smallest first, then as measured; text the other way round. */
  async sortBy(name) {
    performance.mark("sort-start");
    const first = !this.column(name).isText;
    if (this.sort.name !== name) this.sort = { name, descending: first };
    else if (this.sort.descending === first) this.sort.descending = !first;
    else this.sort = { name: null, descending: false };
    await this.arrange();
    this.box.scrollTop = 0;
    const focused = this.columns.findIndex((column) => column.name === name);
    await this.layOut();
    this.head.children[focused].firstChild.focus();
    performance.measure("gradlens-sort", "sort-start");
  }

  /** Take these rows, in the order of the column that is sorted by. */
  async choose(rows) {
    this.chosen = rows;
    this.current = 0;
    await this.arrange();
    this.box.scrollTop = 0;
    this.draw();
  }

  /** Missing values come last either way, and equal ones stay in the order of measuring. */
  async arrange() {
    const column = this.column(this.sort.name);
    const rows = Uint32Array.from(this.chosen).sort();
    if (column) {
      await column.load();
      const keys = column.keys();
      const known = rows.filter((row) => !Number.isNaN(keys[row]));
      const missing = rows.filter((row) => Number.isNaN(keys[row]));
      const turn = this.sort.descending ? -1 : 1;
      known.sort((a, b) => turn * (keys[a] < keys[b] ? -1 : keys[a] > keys[b] ? 1 : 0));
      rows.set(known);
      rows.set(missing, known.length);
    }
    this.chosen = rows;
  }

  /** Put the rows in view into the document, with room for the others above and below. */
  draw() {
    if (!this.run || this.columns.some((column) => !column.numbers)) return;
    const { view, height, step } = this.measure();
    const count = this.chosen.length;
    const visible = Math.ceil(view / ROW_HEIGHT) + 2 * SPARE;
    const top = this.box.scrollTop / step;
    const first = Math.max(0, Math.min(Math.floor(top) - SPARE, count - visible));
    // A little scrolling changes nothing, and a line that is being clicked must stay.
    const drawn = [this.chosen, this.head.firstChild, first, visible, this.current];
    if (drawn.every((part, k) => part === this.drawn?.[k])) return;
    this.drawn = drawn;
    const rows = this.chosen.subarray(first, first + visible);
    const room = height - rows.length * ROW_HEIGHT;
    const above = Math.max(0, Math.min(this.box.scrollTop - (top - first) * ROW_HEIGHT, room));
    this.spaces[0].style.height = `${above}px`;
    this.spaces[1].style.height = `${room - above}px`;
    this.body.replaceChildren(...Array.from(rows, (row, k) => this.line(row, first + k)));
    this.box.querySelector("table").setAttribute("aria-rowcount", count + 1);
  }

  /** Pixels of the view, of all rows, and to scroll by for one row: fewer than it is high where all would be too many. */
  measure() {
    const count = this.chosen.length;
    const view = this.box.clientHeight - this.head.clientHeight;
    const height = Math.min(count * ROW_HEIGHT, MOST_PIXELS);
    const step = height > view ? (height - view) / (count - view / ROW_HEIGHT) : ROW_HEIGHT;
    return { view, height, step };
  }

  line(row, place) {
    const line = element("tr", { className: place === this.current ? "current" : "" });
    line.dataset.row = row;
    line.dataset.place = place;
    line.setAttribute("aria-rowindex", place + 2);
    for (const [k, column] of this.columns.entries()) {
      const cell = element(k ? "td" : "th", { className: column.kind });
      if (!k) cell.scope = "row";
      cell.textContent = column.isText ? ending(column.shown(row)) : column.shown(row);
      if (column.isText) cell.title = column.value(row);
      if (column.kind === "boolean" && !column.value(row)) cell.classList.add("no");
      if (!k) cell.prepend(this.pictures.thumbnail(this.run, row));
      line.append(cell);
    }
    return line;
  }

  clicked(event) {
    const line = event.target.closest("tr[data-row]");
    if (!line) return;
    this.go(Number(line.dataset.place));
    this.open();
  }

  move(event) {
    const page = Math.max(1, Math.floor(this.box.clientHeight / ROW_HEIGHT) - 2);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.target !== this.box) return;
    if (event.key === "Enter") this.open();
    else if (event.key in steps) this.go(this.current + steps[event.key]);
    else return;
    event.preventDefault();
  }

  /** Make a place in the order the current one, and bring it into view. */
  go(place) {
    const { view, step } = this.measure();
    this.current = Math.max(0, Math.min(place, this.chosen.length - 1));
    const last = this.current + 1 - view / ROW_HEIGHT;
    this.box.scrollTop = Math.min(this.current * step, Math.max(last * step, this.box.scrollTop));
    this.draw();
  }

  /** The chosen rows and shown columns, a line each, as a spreadsheet reads them. */
  asCsv() {
    const columns = this.columns;
    const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const lines = [columns.map((column) => quoted(column.name))];
    for (const row of this.chosen) lines.push(columns.map((column) => quoted(column.exact(row))));
    return lines.map((cells) => `${cells.join(",")}\n`).join("");
  }
}

/** The end of a long text, since paths differ there. */
function ending(text) {
  return text.length > LONGEST ? `…${text.slice(1 - LONGEST)}` : text;
}

/** An element with properties and text, which is never read as HTML. */
function element(tag, properties = {}, text = "") {
  const made = Object.assign(document.createElement(tag), properties);
  if (text) made.textContent = text;
  return made;
}
