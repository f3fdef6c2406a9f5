/** The text: typed, pasted, of a file, or the example. */
import {$, guarded, number} from "./page.js";
import {Problem} from "./service.js";

const QUESTION = "When is the water turned off?";

let filled = null; // {text, file} as it came, until it is edited: a text field changes the ends of lines

/** The text, and the name of the file that it is the text of, if it is. */
export function given() {
  return filled ?? {text: $("text").value, file: null};
}

/**
 * Makes the controls work.
 * @param service says how much is too much.
 * @param start called when the example is filled in.
 */
export function listen(service, start) {
  const read = async (files) => {
    if (files.length > 1) throw new Problem("One file at a time", `These are ${files.length}; join them first.`);
    const [{name, size}] = files;
    service.checkSize(name, size);
    fill(await decoded(files[0]), name);
    $("query").focus();
  };
  $("text").addEventListener("input", () => {
    if (filled) $("text-note").textContent = "Edited.";
    filled = null;
  });
  $("example").addEventListener("click", () => guarded(async () => {
    fill(await (await service.get("playground/example.txt")).text(), null);
    $("query").value = QUESTION;
    $("preset").value = "sentences";
    $("preset").dispatchEvent(new Event("change"));
    await start();
  }));
  $("open").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => guarded(async () => {
    const files = [...$("file").files];
    $("file").value = ""; // so that the same file can be opened again
    if (files.length) await read(files);
  }));
  for (const name of ["dragenter", "dragover"]) {
    addEventListener(name, (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      document.body.classList.add("dropping");
    });
  }
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    const files = [...event.dataTransfer.files];
    guarded(() => read(files));
  });
}

function fill(text, file) {
  $("text").value = text;
  $("text-note").textContent = `${file ?? "An example"}: ${number(text.length)} characters.`;
  filled = {text, file};
}

async function decoded(file) {
  const bytes = await file.arrayBuffer();
  try {
    return new TextDecoder("utf-8", {fatal: true, ignoreBOM: true}).decode(bytes);
  } catch {
    throw new Problem("Not a text in UTF-8", `${file.name} is something else. Convert it first, or paste its text.`);
  }
}
