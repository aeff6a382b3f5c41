// Conditions on columns, such as `l1 > 10 and correct`, as Run.select and --where take them. Nothing is ever evaluated
// as JavaScript: the text becomes a tree of small functions `row → value`.
//
//   or → and → not → comparison (may be chained: 0 < l1 < 10) → sum → product → sign → power → atom

const FUNCTIONS = new Map([
  ["abs", Math.abs],
  ["log", Math.log],
  ["log10", Math.log10],
  ["sqrt", Math.sqrt],
]);
const COMPARISONS = {
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
  "==": (a, b) => a === b,
  "!=": (a, b) => a !== b,
};
const ARITHMETIC = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "*": (a, b) => a * b,
  "/": (a, b) => a / b,
  "%": (a, b) => a - b * Math.floor(a / b),
};
const NUMBER = /(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?/y;
const TEXT = /"([^"]*)"|'([^']*)'/y;
const QUOTED = /`([^`]*)`/y;
const WORD = /[A-Za-z_]\w*/y;
const SIGN = /\*\*|<=|>=|==|!=|[-+*/%()<>=&|~]/y;
const WORDS = new Map(Object.entries({ and: "and", or: "or", not: "not", "&": "and", "|": "or", "~": "not" }));
const WHAT = { number: "a number", text: "text", condition: "true or false" };

class ExpressionError extends Error {}

/** A condition on rows: `{holds: row → true or false, columns: those it reads}`; throws ExpressionError. */
function readCondition(source, columns) {
  const parser = new Parser(source, columns);
  const tree = parser.or();
  parser.end();
  parser.want(tree, "condition");
  return { holds: tree.at, columns: [...parser.used] };
}

class Parser {
  constructor(source, columns) {
    this.source = source;
    this.byName = new Map(columns.map((column) => [column.name, column]));
    // A name such as robust[pgd10,linf,4/255] holds signs of its own, so the longest that fits is taken.
    this.names = [...this.byName.keys()].sort((a, b) => b.length - a.length);
    this.used = new Set();
    this.place = 0;
    this.next();
  }

  /** Read the next token into `this.token`: `{kind, text}`. */
  next() {
    const { source } = this;
    while (/\s/.test(source[this.place] ?? "")) this.place++;
    this.token = this.read();
    this.place += this.token.length;
  }

  read() {
    if (this.place >= this.source.length) return { kind: "end", text: "", length: 0 };
    const column = this.names.find((name) => this.beginsWith(name));
    if (column !== undefined) return { kind: "column", text: column, length: column.length };
    const found = (pattern) => ((pattern.lastIndex = this.place), pattern.exec(this.source));
    const text = found(TEXT);
    if (text) return { kind: "text", text: text[1] ?? text[2], length: text[0].length };
    const quoted = found(QUOTED);
    if (quoted) return { kind: "column", text: quoted[1], length: quoted[0].length };
    for (const [kind, pattern] of [["number", NUMBER], ["word", WORD], ["sign", SIGN]]) {
      const match = found(pattern);
      if (match) return { kind, text: match[0], length: match[0].length };
    }
    throw new ExpressionError(`“${this.source[this.place]}” is not understood here; write a condition such as l1 > 10`);
  }

  beginsWith(name) {
    const behind = this.source[this.place + name.length] ?? "";
    return this.source.startsWith(name, this.place) && !/[\w@[]/.test(behind);
  }

  /** Whether the token is one of these signs or words; goes on if so. */
  take(...texts) {
    const said = WORDS.get(this.token.text) ?? this.token.text;
    if (!["sign", "word"].includes(this.token.kind) || !texts.includes(said)) return null;
    this.next();
    return said;
  }

  or() {
    let left = this.and();
    while (this.take("or")) left = this.both(left, this.and(), (a, b) => (row) => a(row) || b(row));
    return left;
  }

  and() {
    let left = this.not();
    while (this.take("and")) left = this.both(left, this.not(), (a, b) => (row) => a(row) && b(row));
    return left;
  }

  both(left, right, join) {
    this.want(left, "condition");
    this.want(right, "condition");
    return { type: "condition", at: join(left.at, right.at) };
  }

  not() {
    if (!this.take("not")) return this.comparison();
    const inner = this.not();
    this.want(inner, "condition");
    return { type: "condition", at: (row) => !inner.at(row) };
  }

  comparison() {
    let left = this.sum();
    let holds = null;
    for (let sign; (sign = this.take(...Object.keys(COMPARISONS), "=")); ) {
      if (sign === "=") throw new ExpressionError("“=” alone says nothing; to compare, write ==");
      const [a, right] = [left, this.sum()];
      this.comparable(a, right, sign);
      const [compare, before] = [COMPARISONS[sign], holds];
      const here = (row) => compare(a.at(row), right.at(row));
      holds = before ? (row) => before(row) && here(row) : here;
      left = right;
    }
    return holds ? { type: "condition", at: holds } : left;
  }

  comparable(a, b, sign) {
    if (a.type !== b.type) {
      const hint = [a.type, b.type].includes("text") ? "; put text in quotes, and compare numbers with numbers" : "";
      throw new ExpressionError(`${said(a)} cannot be compared with ${said(b)}${hint}`);
    }
    if (a.type !== "number" && !["==", "!="].includes(sign)) {
      throw new ExpressionError(`${said(a)} has no order; compare it with == or !=`);
    }
  }

  sum() {
    return this.chain(() => this.product(), "+", "-");
  }

  product() {
    return this.chain(() => this.sign(), "*", "/", "%");
  }

  chain(part, ...signs) {
    let left = part();
    for (let sign; (sign = this.take(...signs)); ) left = this.number(ARITHMETIC[sign], left, part());
    return left;
  }

  sign() {
    if (this.take("-")) return this.number((a) => -a, this.sign());
    return this.take("+") ? this.sign() : this.power();
  }

  power() {
    const base = this.atom();
    return this.take("**") ? this.number((a, b) => a ** b, base, this.sign()) : base;
  }

  /** A number from numbers; a condition counts as 1 or 0. */
  number(of, ...parts) {
    for (const part of parts) if (part.type === "text") throw new ExpressionError(`${said(part)} is not a number`);
    const [a, b] = parts.map((part) => part.at);
    return { type: "number", at: b ? (row) => of(+a(row), +b(row)) : (row) => of(+a(row)) };
  }

  atom() {
    const { kind, text } = this.token;
    if (kind === "sign" && this.take("(")) return this.closed(this.or());
    if (kind === "end") throw new ExpressionError("the condition ends too early; write one such as l1 > 10");
    if (kind === "sign" || (kind === "word" && WORDS.has(text))) {
      throw new ExpressionError(`“${text}” needs a column or a number before and behind it`);
    }
    this.next();
    if (kind === "number") return { type: "number", at: () => Number(text) };
    if (kind === "text") return { type: "text", at: () => text };
    if (kind === "column") return this.column(text);
    if (/^(true|false)$/i.test(text)) return { type: "condition", at: () => text.toLowerCase() === "true" };
    if (FUNCTIONS.has(text) && this.take("(")) return this.number(FUNCTIONS.get(text), this.closed(this.or()));
    return this.column(text);
  }

  closed(inner) {
    if (!this.take(")")) throw new ExpressionError("a bracket is not closed; add )");
    return inner;
  }

  column(name) {
    const column = this.byName.get(name);
    if (!column) throw new ExpressionError(`no column is called “${name}”; ${nearest(name, this.names)}`);
    this.used.add(column);
    const type = column.isText ? "text" : column.kind === "boolean" ? "condition" : "number";
    return { type, name, at: (row) => column.value(row) };
  }

  want(tree, type) {
    if (tree.type === type) return;
    const hint = tree.name ? `; write for example ${tree.name} ${tree.type === "text" ? '== "…"' : "> 10"}` : "";
    throw new ExpressionError(`${said(tree)} is not ${WHAT[type]}${hint}`);
  }

  end() {
    const { kind, text } = this.token;
    if (kind !== "end") throw new ExpressionError(`“${text}” is not expected here; join conditions with and, or`);
  }
}

/** A part of an expression in words. */
function said(tree) {
  return tree.name ? `${tree.name} (${WHAT[tree.type]})` : WHAT[tree.type];
}

/** The names most like a mistyped one. */
function nearest(name, names) {
  const near = names
    .map((known) => [distance(name.toLowerCase(), known.toLowerCase()), known])
    .filter(([steps, known]) => steps <= 1 + known.length / 3)
    .sort(([a], [b]) => a - b)
    .slice(0, 3)
    .map(([, known]) => known);
  return near.length ? `did you mean ${near.join(" or ")}?` : "the menu “columns” lists them";
}

/** How many letters must be added, taken away or replaced. */
function distance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length];
}
