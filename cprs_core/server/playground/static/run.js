/** A run of the model: /v1/scores as server-sent events. */
import {Problem} from "./service.js";

/**
 * @param asked text, query, and instruction or preset.
 * @param progress called with windows done and windows in all.
 * @returns the answer of /v1/scores.
 */
export async function run(service, asked, progress, signal) {
  const reply = await service.post("v1/scores", {...asked, cuts: true, stream: true}, signal);
  for await (const {name, data} of events(reply)) {
    if (name === "progress") progress(data.done, data.windows);
    else if (name === "done") return data;
    else if (name === "error") throw Problem.of(data);
  }
  throw new Problem("No answer", "The answer broke off before its end. Try again.");
}

async function* events(reply) {
  let name = "";
  for await (const line of lines(reply.body.pipeThrough(new TextDecoderStream()).getReader())) {
    const value = line.slice(line.indexOf(": ") + 2);
    if (line.startsWith("event: ")) name = value;
    else if (line.startsWith("data: ")) yield {name, data: JSON.parse(value)};
  }
}

async function* lines(reader) {
  let parts = []; // of a line that is not complete; it may have megabytes, so it is put together once
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    const [first, ...more] = value.split("\n");
    parts.push(first);
    for (const next of more) {
      yield parts.join("");
      parts = [next];
    }
  }
}
