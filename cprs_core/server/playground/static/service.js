/** Requests to the service, and what goes wrong with them. */

/** Something to tell the user: what, why, and what to do next. */
export class Problem extends Error {
  constructor(title, detail, status = 0) {
    super(detail);
    this.title = title;
    this.status = status;
  }

  static of({title, detail, status, request_id}) {
    return new Problem(title, request_id ? `${detail} (request ${request_id})` : detail, status);
  }
}

export class Service {
  key = "";
  settings = {needs_key: false, max_body: Infinity};

  async start() {
    this.settings = await (await this.get("playground/settings")).json();
  }

  get(path) {
    return this.#fetch(path, {});
  }

  /** Sends a body, and gives back the response if it is a good one. */
  async post(path, body, signal) {
    const json = JSON.stringify(body);
    this.checkSize("This text", new Blob([json]).size);
    const headers = {"Content-Type": "application/json", ...(this.key && {Authorization: `Bearer ${this.key}`})};
    return this.#fetch(path, {method: "POST", headers, body: json, signal});
  }

  /** Tokens of a text, counted as budgets are. Waits its turn if the service is busy. */
  async count(text, signal) {
    if (!text) return 0;
    for (let tries = 5; ; tries--) {
      try {
        return (await (await this.post("v1/tokens", {text}, signal)).json()).tokens;
      } catch (problem) {
        if (problem.status !== 429 || !tries) throw problem;
        await new Promise((resolve) => setTimeout(resolve, 300));
        signal.throwIfAborted();
      }
    }
  }

  checkSize(what, bytes) {
    const most = this.settings.max_body;
    if (bytes > most) {
      const [is, may] = [bytes, most].map((number) => number.toLocaleString("en"));
      throw new Problem("Too large", `${what} makes a request of ${is} bytes, and this service takes ${may}. Give it less ` +
        "text at once, or start the service with a larger --max-body-mb.", 413);
    }
  }

  async #fetch(path, options) {
    let reply;
    try {
      reply = await fetch(path, options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem("No answer", "The service cannot be reached, or hung up. See whether it still runs, then try again.");
    }
    if (reply.ok) return reply;
    const text = await reply.text();
    try {
      throw Problem.of(JSON.parse(text));
    } catch (error) {
      if (error instanceof Problem) throw error;
      throw new Problem("Unexpected answer", `What answered with status ${reply.status} is not cprs; is something in between?`,
        reply.status);
    }
  }
}
