/** What the parts of the page share: elements, numbers as people write them, and what went wrong. */
import {Problem} from "./service.js";

export const $ = (id) => document.getElementById(id);

export const number = (value) => value.toLocaleString("en");

export const percent = (share) => share.toLocaleString("en", {style: "percent", maximumFractionDigits: 1});

/** Runs what may fail, and says so if it does. What a newer action has ended is no failure. */
export async function guarded(work) {
  try {
    $("problem").replaceChildren();
    await work();
  } catch (error) {
    if (error.name === "AbortError") return;
    tell(error);
    if (!(error instanceof Problem)) throw error; // a fault of this page: the console has more
  }
}

function tell(error) {
  const title = document.createElement("strong");
  title.textContent = error.title ?? "This page failed";
  const detail = error.status === 401 ? "give one of the service's API keys; this one is missing or wrong." : error.message;
  $("problem").replaceChildren(title, `: ${detail}`);
  if (error.status !== 401) return;
  $("key-field").hidden = false;
  $("key").focus();
}
