/** The form, and what happens when it is sent. */
import {Amount} from "./amount.js";
import {given, listen} from "./input.js";
import {Source} from "./offsets.js";
import {$, guarded} from "./page.js";
import {run} from "./run.js";
import {tableOf} from "./selection.js";
import {Problem, Service} from "./service.js";
import {copy, shared} from "./share.js";
import {go} from "./view.js";

const service = new Service();
const amount = new Amount(service);
let latest = new AbortController(); // of the last result, and what is still asked for it
let running = null; // the same while the model runs

async function start() {
  const {text, file} = given(), question = asked();
  if (!text.trim()) throw missing("text", "There is no text", "Paste one, open a file, or try the example.");
  if (!question.query.trim()) throw missing("query", "There is no question", "Ask one, or say what you are looking for.");
  service.key = $("key").value.trim();
  latest.abort();
  const mine = (latest = running = new AbortController());
  busy(true);
  $("status").textContent = "The model reads the text…";
  try {
    const answer = await run(service, {text, ...question}, progressed, mine.signal);
    $("found").hidden = false;
    $("result-title").textContent = question.query;
    const needsKey = service.settings.needs_key;
    const readAll = (progress) => run(service, {text, ...question, max_tokens: answer.skimmed_to + 1}, progress, mine.signal);
    await amount.take({source: new Source(text), file, asked: question, answer, table: tableOf(answer), readAll, needsKey});
    $("result-title").focus();
  } catch (error) {
    $("status").textContent = error.name === "AbortError" ? "Stopped." : "No result.";
    throw error;
  } finally {
    if (running === mine) {
      running = null;
      busy(false);
    }
  }
}

function asked() {
  const preset = $("preset").value, query = $("query").value, kind = $("kind").value.trim();
  if (preset === "own") return {query, instruction: $("words").value};
  return {query, preset: preset === "entities" && kind ? `${preset}:${kind}` : preset};
}

function missing(id, title, detail) {
  $(id).focus();
  return new Problem(title, detail);
}

function busy(on) {
  $("go").textContent = on ? "Stop" : "Compress";
  $("progress").hidden = !on;
  $("progress").removeAttribute("value");
}

function progressed(done, all) {
  $("progress").max = all;
  $("progress").value = done;
}

function presetChosen() {
  $("kind-field").hidden = $("preset").value !== "entities";
  $("words-field").hidden = $("preset").value !== "own";
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) running.abort();
  else guarded(start);
});
$("preset").addEventListener("change", presetChosen);
$("previous").addEventListener("click", () => go($("view"), -1));
$("next").addEventListener("click", () => go($("view"), 1));
for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", () => guarded(async () => {
    await copy(shared(await amount.settled(), button.dataset.as));
    $("status").textContent = `Copied as ${button.dataset.as}.`;
  }));
}
listen(service, start);
presetChosen(); // browsers fill in a form again
guarded(async () => {
  await service.start();
  $("key-field").hidden = !service.settings.needs_key;
});
