// The page: its runs, the filters above the table, the window for one image, light and dark.

const WAIT = 200;
const byId = (id) => document.getElementById(id);

/** What the page holds of one run. */
class Run {
  constructor(about) {
    this.label = about.label;
    this.data = about.data;
    this.rows = about.rows;
    this.columns = about.columns.map((column) => new Column(column, about.rows));
    this.leftOut = about.left_out;
    this.cards = new Map(about.cards);
  }

  /** The rows by path. */
  async places() {
    const path = await this.columns.find((column) => column.name === "path").load();
    this.byPath ??= new Map(Array.from({ length: this.rows }, (_, row) => [path.value(row), row]));
    return this.byPath;
  }
}

/** The stored examples, which are in the page as cards. */
const pictures = {
  card(run, row) {
    return run.cards.has(row) ? byId(`card-${run.cards.get(row)}`) : null;
  },

  /** The image of a row in the size of a line, or as much empty room where some rows have one. */
  thumbnail(run, row) {
    if (!run.cards.size) return "";
    const card = this.card(run, row);
    if (!card) return element("span", { className: "thumbnail" });
    return element("img", { className: "thumbnail", alt: "has an example", src: card.querySelector("img").src });
  },

  /** Gradients on one scale for all runs of an image, or each on its own. */
  rescale(own) {
    for (const image of document.querySelectorAll("img[data-own]")) {
      image.dataset.shared ??= image.src;
      image.src = own ? image.dataset.own : image.dataset.shared;
    }
  },
};

/** The filters above the table. */
class Filters {
  constructor(table) {
    this.table = table;
    this.condition = null;
    for (const id of ["search", "condition"]) byId(id).addEventListener("input", () => this.soon());
    byId("with-example").addEventListener("change", () => this.apply());
    byId("filters").addEventListener("submit", (event) => {
      event.preventDefault();
      this.apply();
    });
  }

  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.apply(), WAIT);
  }

  /** Choose the rows that pass; where the condition cannot be read, say why and keep the last one that could. */
  async apply() {
    clearTimeout(this.timer);
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const { run } = this.table;
    performance.mark("filter-start");
    this.readCondition(run);
    const texts = run.columns.filter((column) => column.isText);
    await Promise.all([...(this.condition?.columns ?? []), ...texts].map((column) => column.load()));
    // A later keystroke has its own turn.
    if (turn !== this.turn) return;
    const tests = this.tests(run, texts);
    const rows = Uint32Array.from({ length: run.rows }, (_, row) => row);
    const chosen = rows.filter((row) => tests.every((test) => test(row)));
    await this.table.choose(chosen);
    byId("count").textContent = counted(chosen.length, run.rows);
    performance.measure("gradlens-filter", "filter-start");
  }

  readCondition(run) {
    const source = byId("condition").value.trim();
    let error = "";
    try {
      this.condition = source ? readCondition(source, run.columns) : null;
    } catch (failure) {
      if (!(failure instanceof ExpressionError)) throw failure;
      error = failure.message;
      // What was read for another run has that run's columns.
      if (this.conditionOf !== run) this.condition = null;
    }
    this.conditionOf = run;
    byId("condition").setAttribute("aria-invalid", String(error !== ""));
    byId("condition-error").textContent = error;
  }

  tests(run, texts) {
    const tests = [];
    const sought = byId("search").value.trim().toLowerCase();
    if (sought) {
      const found = texts.map((column) => [column, column.words.map((word) => word.toLowerCase().includes(sought))]);
      tests.push((row) => found.some(([column, words]) => words[column.numbers[row]]));
    }
    if (byId("with-example").checked) tests.push((row) => run.cards.has(row));
    if (this.condition) tests.push(this.condition.holds);
    return tests;
  }
}

function counted(chosen, all) {
  const total = all.toLocaleString("en");
  return chosen === all ? `${total} images` : `${chosen.toLocaleString("en")} of ${total} images`;
}

/** The menu of columns. */
class Chooser {
  constructor(table) {
    this.table = table;
    this.list = byId("columns");
    byId("find-column").addEventListener("input", () => this.narrow());
    byId("first-columns").addEventListener("click", () => this.reset());
    this.list.addEventListener("change", () => this.apply());
    document.addEventListener("click", (event) => {
      if (!byId("chooser").contains(event.target)) byId("chooser").open = false;
    });
    byId("chooser").addEventListener("keydown", (event) => {
      if (event.key === "Escape") byId("chooser").open = false;
    });
  }

  /** List a run's columns. */
  fill() {
    const { run, shown } = this.table;
    const boxes = run.columns.map((column) => {
      const label = element("label", { title: column.meaning });
      label.append(element("input", { type: "checkbox", value: column.name, checked: shown.includes(column.name) }));
      label.append(element("span", {}, column.name));
      return label;
    });
    this.list.replaceChildren(...boxes);
    byId("left-out").textContent = run.leftOut.length
      ? `Left out to keep this file small, but in samples.parquet: ${run.leftOut.join(", ")}`
      : "";
    this.narrow();
  }

  narrow() {
    const sought = byId("find-column").value.trim().toLowerCase();
    for (const label of this.list.children) label.hidden = !label.textContent.toLowerCase().includes(sought);
  }

  async apply() {
    const boxes = [...this.list.querySelectorAll("input")];
    await this.table.show(boxes.filter((box) => box.checked).map((box) => box.value));
  }

  async reset() {
    const first = this.table.run.columns.filter((column) => column.shownAtFirst).map((column) => column.name);
    await this.table.show(first);
    this.fill();
  }
}

/** The window that shows all numbers of one image, in every run that measured it, and its example. */
class Look {
  constructor(table, runs) {
    this.table = table;
    this.runs = runs;
    this.window = byId("look");
    byId("look-close").addEventListener("click", () => this.window.close());
    byId("look-back").addEventListener("click", () => this.step(-1));
    byId("look-on").addEventListener("click", () => this.step(1));
    this.window.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") this.step(-1);
      if (event.key === "ArrowRight") this.step(1);
    });
    this.window.addEventListener("click", (event) => {
      if (event.target === this.window) this.window.close();
    });
    this.window.addEventListener("close", () => this.table.box.focus({ preventScroll: true }));
  }

  async step(by) {
    this.table.go(this.table.current + by);
    await this.open();
  }

  /** Show the table's current row. */
  async open() {
    const { run, chosen, current } = this.table;
    if (chosen.length) await this.show(run, chosen[current], `${(current + 1).toLocaleString("en")} of ${counted(chosen.length, chosen.length)}`);
  }

  async show(run, row, place = "") {
    const path = (await run.places(), run.columns.find((column) => column.name === "path").value(row));
    const found = [[run, row]];
    for (const other of this.runs) {
      const there = other !== run && other.data === run.data ? (await other.places()).get(path) : undefined;
      if (there !== undefined) found.push([other, there]);
    }
    found.sort(([a], [b]) => this.runs.indexOf(a) - this.runs.indexOf(b));
    await Promise.all(found.flatMap(([one]) => one.columns.map((column) => column.load())));
    byId("look-title").textContent = path;
    byId("look-place").textContent = place;
    const card = pictures.card(run, row);
    byId("look-pictures").replaceChildren(...(card ? [card.querySelector(".looks").cloneNode(true)] : []));
    byId("look-none").hidden = card !== null;
    this.fill(found);
    if (!this.window.open) this.window.showModal();
  }

  fill(found) {
    const names = [...new Set(found.flatMap(([run]) => run.columns.map((column) => column.name)))];
    const head = element("tr");
    head.append(element("th", { scope: "col" }, "column"), ...found.map(([run]) => element("th", { scope: "col", className: "number" }, run.label)));
    byId("look-head").replaceChildren(head);
    const lines = names.filter((name) => name !== "path").map((name) => {
      const line = element("tr");
      const columns = found.map(([run]) => run.columns.find((column) => column.name === name));
      line.append(element("th", { scope: "row", title: columns.find(Boolean).meaning }, name));
      found.forEach(([, row], k) => line.append(element("td", {}, columns[k] ? columns[k].shown(row) : NOTHING)));
      return line;
    });
    byId("look-body").replaceChildren(...lines);
  }
}

function offerCsv(table) {
  const content = new Blob([table.asCsv()], { type: "text/csv" });
  const link = element("a", { href: URL.createObjectURL(content), download: `${table.run.label}.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** The button names what it would change to. */
function themed() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  const name = () => (byId("theme").textContent = isDark() ? "Light" : "Dark");
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    name();
  });
  dark.addEventListener("change", name);
  name();
}

async function start() {
  themed();
  const runs = JSON.parse(byId("runs").textContent).map((about) => new Run(about));
  const table = new Table(byId("table"), pictures, () => look.open());
  const look = new Look(table, runs);
  const filters = new Filters(table);
  const chooser = new Chooser(table);
  const use = async (run) => {
    await table.use(run);
    chooser.fill();
    await filters.apply();
  };
  for (const choice of document.querySelectorAll("input[name=run]")) {
    choice.addEventListener("change", () => use(runs[Number(choice.value)]));
  }
  for (const button of document.querySelectorAll(".card button")) {
    button.addEventListener("click", () => look.show(runs[Number(button.dataset.run)], Number(button.dataset.row)));
  }
  byId("own-scale")?.addEventListener("change", (event) => pictures.rescale(event.target.checked));
  byId("csv").addEventListener("click", () => offerCsv(table));
  await use(runs[0]);
  performance.mark("gradlens-ready");
}

start().catch((error) => {
  byId("condition-error").textContent = `The table cannot be shown: ${error.message}; try a browser of 2023 or later`;
  throw error;
});
