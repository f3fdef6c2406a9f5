/** A text addressed as the service does, in code points. Strings of browsers count UTF-16 units, two for some characters. */
export class Source {
  #units = null; // where each code point begins, unless it is where it is in any case

  constructor(text) {
    this.text = text;
    this.length = text.length;
    if (!/[\ud800-\udbff][\udc00-\udfff]/.test(text)) return;
    const units = new Uint32Array(text.length + 1);
    let points = 0;
    for (let unit = 0; unit < text.length; unit += text.codePointAt(unit) > 0xffff ? 2 : 1) units[points++] = unit;
    units[points] = text.length;
    this.#units = units.subarray(0, points + 1);
    this.length = points;
  }

  /** The text between two code points. */
  slice(start, end) {
    return this.#units ? this.text.slice(this.#units[start], this.#units[end]) : this.text.slice(start, end);
  }
}
