/**
 * What a budget keeps, over the answer of /v1/scores. The same rule as cprs_core/selection.py and spans.py, so the same
 * spans as max_tokens gives: best-scored pieces first while they fit; a candidate that no budget of this size can hold is
 * cut into its clauses, and those into their words; what takes more tokens once it is cut out costs the weakest their place.
 */

/**
 * All pieces of all sizes in one table. A piece counts under a budget if it fits (words always do) and `inside`, the tokens
 * of the piece that it is cut from, does not.
 */
export function tableOf(answer) {
  const levels = [answer.candidates, answer.clauses, answer.words];
  const size = levels.reduce((sum, level) => sum + level.starts.length, 0);
  const table = {
    start: new Uint32Array(size), end: new Uint32Array(size), score: new Float32Array(size), tag: new Uint16Array(size),
    tokens: new Uint32Array(size), inside: new Float64Array(size), level: new Uint8Array(size),
    kept: answer.candidates.kept, whole: answer.candidates.whole, count: answer.candidates.starts.length,
  };
  let row = 0, above = 0;
  levels.forEach((level, number) => {
    const first = row;
    for (let i = 0, parent = above; i < level.starts.length; i++, row++) {
      table.start[row] = level.starts[i];
      table.end[row] = level.ends[i];
      table.score[row] = level.scores[i];
      table.tag[row] = level.tags[i];
      table.tokens[row] = level.tokens[i];
      table.level[row] = number;
      if (number) while (table.end[parent] < level.ends[i]) parent++;
      table.inside[row] = number ? table.tokens[parent] : Infinity;
    }
    above = first;
  });
  const rows = Uint32Array.from({length: size}, (_, i) => i);
  table.reading = rows.slice().sort((a, b) => table.start[a] - table.start[b] || table.level[a] - table.level[b]);
  table.ranking = rows.sort((a, b) => table.score[b] - table.score[a] || table.start[a] - table.start[b]);
  table.longest = answer.candidates.tokens.reduce((most, tokens) => Math.max(most, tokens), 0);
  return table;
}

/** What the model keeps by itself. */
export function decided(table) {
  return spans(table, (row) => row < table.count, (row) => table.kept[row], true);
}

/** What fits into a budget, before it is known how many tokens the text of it really has. */
export class Choice {
  constructor(table, budget) {
    this.table = table;
    this.budget = budget;
    this.chosen = new Uint8Array(table.start.length);
    let left = budget;
    for (const row of table.ranking) {
      if (table.tokens[row] <= left && this.#counts(row)) {
        this.chosen[row] = 1;
        left -= table.tokens[row];
      }
    }
  }

  #counts(row) {
    const {level, tokens, inside} = this.table;
    return this.budget < inside[row] && (level[row] === 2 || tokens[row] <= this.budget);
  }

  spans() {
    return spans(this.table, (row) => this.#counts(row), (row) => this.chosen[row], this.table.longest <= this.budget);
  }

  /** Gives up the worst-scored that have at least so many tokens together; of equals the last go first. */
  drop(tokens) {
    const {ranking} = this.table;
    for (let i = ranking.length - 1; i >= 0 && tokens > 0; i--) {
      if (this.chosen[ranking[i]]) {
        this.chosen[ranking[i]] = 0;
        tokens -= this.table.tokens[ranking[i]];
      }
    }
  }
}

/**
 * The spans that a budget keeps, and their tokens.
 * @param count a function of a text to its number of tokens, or a promise of it.
 */
export async function select(table, budget, source, count) {
  const choice = new Choice(table, budget);
  for (;;) {
    const found = choice.spans();
    const kept = await count(joined(source, found));
    if (kept <= budget) return {spans: found, kept};
    choice.drop(kept - budget);
  }
}

/** The text that spans make: a separator for what was left out between two. */
export function joined(source, found) {
  const parts = [];
  found.forEach((span, i) => {
    const before = i ? found[i - 1].end : span.start;
    if (span.start > before) parts.push(/[\r\n]/.test(source.slice(before, span.start)) ? "\n" : " ");
    parts.push(source.slice(span.start, span.end));
  });
  return parts.join("");
}

/**
 * Chosen neighbours of one tag, joined; but not two that the model marks as a piece each. `parts` are the neighbours: the
 * first begins where the span does, each next one where the one before ends.
 */
function spans(table, counts, chosen, uncut) {
  const {start, end, score, tag, tokens, whole} = table;
  const found = [];
  let before = null; // the row just before this one, if it was chosen
  let sum = 0, weight = 0;
  for (const row of table.reading) {
    if (!counts(row)) continue;
    if (!chosen(row)) {
      before = null;
      continue;
    }
    if (before === null || tag[row] !== tag[before] || (uncut && whole[row] && whole[before])) {
      found.push({start: start[row], end: end[row], score: 0, tag: tag[row], parts: []});
      sum = weight = 0;
    }
    const span = found.at(-1), more = Math.max(tokens[row], 1);
    span.end = end[row];
    span.parts.push({end: end[row], score: score[row]});
    sum += score[row] * more;
    weight += more;
    span.score = Math.min(1, sum / weight);
    before = row;
  }
  return found;
}
