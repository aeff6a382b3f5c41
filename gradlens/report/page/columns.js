// Columns of the table. Each is decoded when it is first used: base64, inflated, put together from planes of bytes.

// The array that holds a kind's numbers, and how many of its lowest bytes are zero and were left out.
const KINDS = {
  float: [Float32Array, 1],
  double: [Float64Array, 0],
  integer: [Int32Array, 0],
  boolean: [Uint8Array, 0],
  text: [Int32Array, 0],
};
const NOTHING = "–";

/** One column of a run: `numbers`, one a row; of text, positions in `words`, −1 where missing. */
class Column {
  constructor(about, rows) {
    this.name = about.name;
    this.kind = about.kind;
    this.meaning = about.meaning;
    this.shownAtFirst = about.shown;
    this.rows = rows;
    this.blocks = [about.numbers, about.words];
    this.loading = null;
  }

  get isText() {
    return this.kind === "text";
  }

  /** Decode, once. */
  load() {
    this.loading ??= this.decode();
    return this.loading;
  }

  async decode() {
    const [numbers, words] = await Promise.all(this.blocks.map((block) => block && inflated(block)));
    this.words = words && JSON.parse(new TextDecoder().decode(words));
    this.numbers = fromPlanes(numbers, this.rows, ...KINDS[this.kind]);
    return this;
  }

  /** A row's value: a number, true or false, or text; NaN or an empty text where it is missing. */
  value(row) {
    const number = this.numbers[row];
    if (this.isText) return number < 0 ? "" : this.words[number];
    return this.kind === "boolean" ? number === 1 : number;
  }

  /** As the table shows it. */
  shown(row) {
    const value = this.value(row);
    if (this.isText) return value || NOTHING;
    if (this.kind === "boolean") return value ? "yes" : "no";
    return this.kind === "integer" ? String(value).replace("-", "−") : rounded(value);
  }

  /** With all the digits that the page holds. */
  exact(row) {
    const value = this.value(row);
    if (this.kind === "float" || this.kind === "double") return Number.isNaN(value) ? "" : String(+value.toPrecision(6));
    return String(value);
  }

  /** What rows are sorted by: numbers, NaN where missing; of text, its place in the alphabet. */
  keys() {
    if (!this.isText) return this.numbers;
    if (!this.places) {
      const collator = new Intl.Collator("en", { numeric: true });
      const sorted = Array.from(this.words.keys()).sort((a, b) => collator.compare(this.words[a], this.words[b]));
      this.places = new Float64Array(this.words.length);
      sorted.forEach((word, place) => (this.places[word] = place));
    }
    return Float64Array.from(this.numbers, (word) => (word < 0 ? NaN : this.places[word]));
  }
}

/** A number in four digits; a dash where it is missing. */
function rounded(value) {
  if (Number.isNaN(value)) return NOTHING;
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-4 || size >= 1e6) ? value.toExponential(3) : String(+value.toPrecision(4));
  return text.replace("e+", "e").replaceAll("-", "−");
}

async function inflated(block) {
  const text = atob(document.getElementById(block).textContent);
  const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Numbers from all their lowest bytes, all their second bytes, …, of which the first `skipped` are left out. */
function fromPlanes(planes, rows, Numbers, skipped) {
  const size = Numbers.BYTES_PER_ELEMENT;
  const bytes = new Uint8Array(rows * size);
  for (let byte = skipped; byte < size; byte++) {
    const plane = (byte - skipped) * rows;
    for (let row = 0; row < rows; row++) bytes[row * size + byte] = planes[plane + row];
  }
  return new Numbers(bytes.buffer);
}
