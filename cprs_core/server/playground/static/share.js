/** A result to take along: its text, its JSON as /v1/compress gives it, and the curl and Python that make it again. */
import {joined} from "./selection.js";
import {Problem} from "./service.js";

const MAKERS = {text, JSON: json, curl, Python: python};

/**
 * @param result source, file, asked (without the text), answer, spans, kept, budget (null: the model decides), needsKey.
 * @param as "text", "JSON", "curl" or "Python".
 */
export function shared(result, as) {
  return MAKERS[as](result);
}

/** Puts a text on the clipboard. */
export async function copy(value) {
  if (navigator.clipboard) return navigator.clipboard.writeText(value);
  const field = document.createElement("textarea"); // a page of another host that comes without TLS has no clipboard
  const focused = document.activeElement;
  field.value = value;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  focused.focus();
  if (!done) throw new Problem("Not copied", "This browser does not let the page copy. Select the text and copy it yourself.");
}

function text({source, spans}) {
  return joined(source, spans);
}

function json({source, spans, kept, answer}) {
  const {model, query, instruction, input_tokens, seconds, tags} = answer;
  const ratio = input_tokens ? kept / input_tokens : 0;
  const rows = spans.map(({start, end, score, tag}) => ({start, end, text: source.slice(start, end), score, tag: tags[tag]}));
  const report = {model, query, instruction, input_tokens, kept_tokens: kept, ratio, seconds};
  return JSON.stringify({...report, text: joined(source, spans), spans: rows}, null, 1);
}

function curl({source, asked, budget, needsKey}) {
  const body = {text: source.text, ...asked, ...(budget && {max_tokens: budget})};
  const key = needsKey ? ' -H "Authorization: Bearer $CPRS_API_KEY"' : "";
  // A body of one line, so that nothing in it can end it.
  return `curl -s ${address()}/v1/compress${key} -H "Content-Type: application/json" -d @- <<'END'\n${JSON.stringify(body)}\nEND\n`;
}

function python({source, file, asked, budget, needsKey}) {
  const {query, preset, instruction} = asked;
  const keep = preset ? `Instruction.preset(${quoted(preset)})` : quoted(instruction);
  const limit = budget ? `, max_tokens=${budget}` : "";
  return [
    preset ? "from cprs_core import CprsClient, Instruction" : "from cprs_core import CprsClient", "",
    `text = ${file ? `open(${quoted(file)}, encoding="utf-8", newline="").read()` : quoted(source.text)}`,
    `with CprsClient(${quoted(address())}) as client:${needsKey ? "  # the key is in the environment: CPRS_API_KEY" : ""}`,
    `    result = client.compress(text, ${quoted(query)}, ${keep}${limit})`,
    "print(result.text)", "",
  ].join("\n");
}

/** A string as JSON writes it, which Python reads too. */
function quoted(value) {
  return JSON.stringify(value);
}

function address() {
  return new URL(".", location.href).href.replace(/\/$/, "");
}
