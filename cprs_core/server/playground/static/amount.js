/** How much to keep: the model's decision or a budget, chosen anew without a run of the model. */
import {$, guarded, number, percent} from "./page.js";
import {Choice, decided, joined, select, tableOf} from "./selection.js";
import {show} from "./view.js";

const STOPS = Number($("budget").max);
const PAUSE = 80; // ms without a move after which tokens are counted

export class Amount {
  #service;
  #result = null;
  #opened = new Set(); // the folds that are open
  #latest = null; // AbortController of the selection that goes on
  #done = Promise.resolve();

  constructor(service) {
    this.#service = service;
    $("budget").addEventListener("input", () => {
      $("tokens").value = Math.round(this.#all ** (Number($("budget").value) / STOPS));
      this.#valid(); // again
      this.#budgeted();
    });
    $("tokens").addEventListener("input", () => {
      if (!this.#valid()) return;
      $("budget").value = this.#stop(Number($("tokens").value));
      this.#budgeted();
    });
    $("by-model").addEventListener("change", () => guarded(() => this.choose()));
    $("by-budget").addEventListener("change", () => {
      if (this.#valid()) this.#budgeted();
    });
  }

  get #all() {
    return this.#result.answer.input_tokens;
  }

  /**
   * Takes a new result, and shows what the model decides. Fills in spans, kept and budget, then and whenever they change.
   * Its `readAll` gives the answer for budgets over `skimmed_to`.
   */
  async take(result) {
    this.#result = result;
    this.#opened.clear();
    $("by-model").checked = true;
    $("tokens").value = Math.max(1, Math.round(this.#all / 10));
    $("budget").value = this.#stop(Number($("tokens").value));
    $("budget").disabled = this.#all < 2;
    this.#say();
    await this.choose();
  }

  /** The result, once what is being chosen has been. */
  async settled() {
    for (let done = null; done !== this.#done; ) await (done = this.#done).catch(() => {});
    await this.#done;
    return this.#result;
  }

  choose() {
    this.#latest?.abort();
    this.#latest = new AbortController();
    this.#done = this.#choose(this.#latest.signal);
    return this.#done;
  }

  async #choose(signal) {
    const budget = $("by-budget").checked ? Number($("tokens").value) : null;
    $("found").setAttribute("aria-busy", "true");
    try {
      const found = await (budget === null ? this.#decided(signal) : this.#fitting(budget, signal));
      signal.throwIfAborted();
      this.#keep({...found, budget});
    } finally {
      if (!signal.aborted) $("found").setAttribute("aria-busy", "false");
    }
  }

  async #decided(signal) {
    const {table, source} = this.#result;
    const spans = decided(table);
    return {spans, kept: await this.#service.count(joined(source, spans), signal)};
  }

  /** What a budget keeps is shown at once, and again when the service has counted its tokens. */
  async #fitting(budget, signal) {
    const result = this.#result, {source, answer} = result;
    const skimmed = budget <= (answer.skimmed_to ?? Infinity);
    const table = skimmed ? result.table : result.fullTable;
    await new Promise(requestAnimationFrame);
    signal.throwIfAborted();
    show($("view"), source, new Choice(table ?? result.table, budget).spans(), answer.tags, this.#opened);
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
    signal.throwIfAborted();
    return select(table ?? (await this.#full(result)), budget, source, (text) => this.#service.count(text, signal));
  }

  /** A long text is skimmed first; for a larger budget all of it is read, once, however the slider moves meanwhile. */
  #full(result) {
    result.reading ??= this.#read(result).finally(() => {
      result.reading = null;
      $("reading").hidden = true;
    });
    return result.reading;
  }

  async #read(result) {
    $("status").textContent = `Over ${number(result.answer.skimmed_to)} tokens the model reads all of the text, once…`;
    $("reading").removeAttribute("value");
    $("reading").hidden = false;
    try {
      const answer = await result.readAll((done, all) => Object.assign($("reading"), {max: all, value: done}));
      return (result.fullTable = tableOf(answer));
    } catch (error) {
      if (error.name !== "AbortError") $("status").textContent = "No result for this budget.";
      throw error;
    }
  }

  #keep(found) {
    const {source, answer} = Object.assign(this.#result, found);
    show($("view"), source, found.spans, answer.tags, this.#opened);
    const spans = `${number(found.spans.length)} ${found.spans.length === 1 ? "span" : "spans"}`;
    const share = percent(this.#all ? found.kept / this.#all : 0);
    const counts = `Kept ${number(found.kept)} of ${number(this.#all)} tokens (${share}) in ${spans}`;
    $("status").textContent = found.spans.length
      ? `${counts}. The model took ${answer.seconds.toFixed(1)} s.`
      : `Nothing of the ${number(this.#all)} tokens seems to matter for the question. A budget keeps the best of it anyway.`;
  }

  #budgeted() {
    $("by-budget").checked = true;
    this.#say();
    guarded(() => this.choose());
  }

  #valid() {
    const valid = $("tokens").value !== "" && $("tokens").checkValidity();
    $("tokens").setAttribute("aria-invalid", String(!valid));
    if (!valid) $("tokens-note").textContent = "A budget is a whole number from 1 on.";
    return valid;
  }

  /** The stop of the slider for a budget. They are even steps of its logarithm: of 100,000 tokens one keeps a few hundred. */
  #stop(tokens) {
    return this.#all > 1 ? Math.round((STOPS * Math.log(tokens)) / Math.log(this.#all)) : STOPS;
  }

  /** The budget in words, for those who see the slider and those who do not. */
  #say() {
    const tokens = Number($("tokens").value);
    const share = `of ${number(this.#all)} tokens${this.#all ? `, ${percent(tokens / this.#all)}` : ""}`;
    $("budget").setAttribute("aria-valuetext", `${number(tokens)} ${share}`);
    $("tokens-note").textContent = share;
  }
}
