/**
 * A text with its kept spans marked, shaded by score. Long stretches that are left out are folded, and made only when they
 * are unfolded. Text goes in as text nodes, never as markup. Rows that are out of sight cost no layout (see style.css).
 */
const SHOWN = 200; // characters of left-out text that stay in sight on either side of a kept span
const ROW = 2000; // characters after which a row ends with the line
const LONGEST = 20_000; // characters after which it ends in any case

/**
 * Shows a result in an element.
 * @param opened the beginnings of folds that the user has opened; kept up to date.
 */
export function show(element, source, spans, tags, opened) {
  const rows = new Rows(source);
  let last = 0;
  for (const span of spans) {
    leftOut(rows, source, last, span.start, opened);
    last = span.start;
    for (const [i, {end, score}] of span.parts.entries()) {
      rows.add(last, end, (begins) => mark(score, tags[span.tag], begins && !i));
      last = end;
    }
  }
  leftOut(rows, source, last, source.length, opened);
  element.replaceChildren(...rows.all);
}

/** Goes to the kept span after the one that has the focus, or with -1 the one before; round and round. */
export function go(element, step) {
  const marks = [...element.querySelectorAll("mark.first")];
  if (!marks.length) return;
  const current = marks.indexOf(document.activeElement);
  const target = marks[current < 0 ? (step > 0 ? 0 : marks.length - 1) : (current + step + marks.length) % marks.length];
  target.tabIndex = -1;
  target.focus({preventScroll: true});
  target.scrollIntoView({block: "center"});
}

function mark(score, tag, first) {
  const element = document.createElement("mark");
  element.className = `s${Math.min(9, Math.floor(score * 10))}`;
  element.classList.toggle("first", first);
  element.title = `${tag}, score ${score.toFixed(2)}`;
  return element;
}

function leftOut(rows, source, start, end, opened) {
  const from = start && toSpace(source, start + SHOWN, end, 1);
  const to = end === source.length ? end : toSpace(source, end - SHOWN, start, -1) + 1;
  if (to - from < 2 * SHOWN) {
    rows.add(start, end);
    return;
  }
  rows.add(start, from);
  rows.put(fold(source, from, to, opened));
  rows.add(to, end);
}

/** The next white space in a direction, so that no word is cut in two; but not far away. */
function toSpace(source, position, limit, step) {
  for (let at = position; at !== limit && Math.abs(at - position) < 40; at += step) {
    if (/\s/.test(source.slice(at, at + 1))) return at;
  }
  return position;
}

function fold(source, start, end, opened) {
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = `${(end - start).toLocaleString("en")} characters left out`;
  details.append(summary);
  const fill = () => {
    if (details.childElementCount > 1) return;
    const rows = new Rows(source);
    rows.add(start, end);
    details.append(...rows.all);
  };
  if (opened.has(start)) {
    details.open = true;
    fill();
  }
  details.addEventListener("toggle", () => {
    if (details.open) {
      opened.add(start);
      fill();
    } else {
      opened.delete(start);
    }
  });
  return details;
}

/** Block elements of a bounded size, each of whole lines where lines are not endless. */
class Rows {
  #source;
  #row = null;
  #size = 0;
  all = [];

  constructor(source) {
    this.#source = source;
  }

  /** Adds the text between two offsets, in elements that `make` makes, if it does; it is told whether it is the first. */
  add(start, end, make = () => null) {
    const text = this.#source.slice(start, end);
    for (let at = 0; at < text.length; ) {
      const until = this.#until(text, at);
      const piece = text.slice(at, until);
      const wrapper = make(!at);
      if (wrapper) wrapper.textContent = piece;
      this.#open().append(wrapper ?? piece);
      this.#size += piece.length;
      if (this.#size >= ROW && (piece.endsWith("\n") || this.#size >= LONGEST)) this.#row = null;
      at = until;
    }
  }

  /** Adds a block of its own. */
  put(element) {
    this.all.push(element);
    this.#row = null;
  }

  /** Where the row must end. */
  #until(text, at) {
    const line = text.indexOf("\n", at + Math.max(0, ROW - this.#size));
    let most = at + Math.max(1, LONGEST - this.#size);
    if (line >= 0 && line < most) return line + 1;
    if (most >= text.length) return text.length;
    if (/[\ud800-\udbff]/.test(text[most - 1])) most++; // not in the middle of a character
    return most;
  }

  #open() {
    if (!this.#row) {
      this.#row = document.createElement("div");
      this.#row.className = "row";
      this.#size = 0;
      this.all.push(this.#row);
    }
    return this.#row;
  }
}
