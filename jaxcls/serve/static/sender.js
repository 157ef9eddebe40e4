// Sends pictures in small batches, two at a time, and gives each its answer.

import { predict, Refused } from "./api.js";
import { size } from "./elements.js";

const BATCH = 8; // pictures a request
const BYTES = 8 * 2 ** 20; // a request of several
const AT_ONCE = 2;
const TRIES = 8; // of a request that a busy server has put off

export class Sender {
  /**
   * limits: {bytes, pictures} of a request.
   * answered(entry): the entry has its `answer`, or its `error`.
   * progressed(done, total), finished(done, total), wantsKey() -> Promise of a key being there.
   */
  constructor(limits, { answered, progressed, finished, wantsKey }) {
    Object.assign(this, { limits, answered, progressed, finished, wantsKey });
    this.waiting = [];
    this.running = this.done = this.total = 0;
    this.abort = new AbortController();
  }

  get busy() {
    return this.done < this.total;
  }

  add(entries) {
    if (!this.busy) this.done = this.total = 0;
    this.total += entries.length;
    this.waiting.push(...entries);
    this.progressed(this.done, this.total);
    this.pump();
  }

  cancel() {
    this.abort.abort();
    this.abort = new AbortController();
    for (const entry of this.waiting.splice(0)) this.end(entry, { error: "Cancelled.", again: true });
  }

  pump() {
    while (this.running < AT_ONCE && this.waiting.length) {
      this.running += 1;
      this.send(this.take(), this.abort.signal).finally(() => {
        this.running -= 1;
        this.pump();
      });
    }
  }

  /** The next pictures that fit into a request, all for one model. */
  take() {
    const [first] = this.waiting;
    const most = Math.min(BATCH, this.limits.pictures);
    let bytes = 0;
    let n = 0;
    for (const entry of this.waiting.slice(0, most)) {
      bytes += entry.size;
      if (entry.model !== first.model || (n && bytes > Math.min(BYTES, 0.9 * this.limits.bytes))) break;
      n += 1;
    }
    return this.waiting.splice(0, n);
  }

  async send(batch, signal) {
    if (batch.length === 1 && batch[0].size > this.limits.bytes) {
      this.end(batch[0], { error: `The file has more than ${size(this.limits.bytes)}, all that the server takes.` });
      return;
    }
    try {
      const found = await this.ask(batch, signal);
      batch.forEach((entry, i) => {
        const answer = found.answers[i] ?? { error: "The server gave no answer." };
        const { model, version, step } = found;
        const error = answer.error?.replace(/^picture( \d+)?: /, "");
        this.end(entry, error ? { error } : { answer, model, version, step });
      });
    } catch (error) {
      if (batch.length > 1 && error instanceof Refused && error.status >= 400 && error.status < 500) {
        for (const entry of batch) await this.send([entry], signal); // one of them may be the reason
        return;
      }
      const told = error.name === "AbortError" ? "Cancelled." : error.message;
      for (const entry of batch) this.end(entry, { error: told, again: true });
    }
  }

  async ask(batch, signal) {
    for (let tries = 1; ; tries += 1) {
      try {
        const { model, top } = batch[0];
        return await predict(batch.map((e) => e.file), batch.map((e) => e.name), { model, top, signal });
      } catch (error) {
        if (signal.aborted) throw new DOMException("", "AbortError");
        if (error.status === 401) await this.wantsKey(signal);
        else if ((error.status === 503 || error.status === 429) && tries < TRIES) await pause(error.wait, signal);
        else throw error;
      }
    }
  }

  end(entry, result) {
    Object.assign(entry, { error: undefined, again: false }, result, { state: "done" });
    this.done += 1;
    this.answered(entry);
    this.progressed(this.done, this.total);
    if (!this.busy) this.finished(this.total);
  }
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * Math.min(seconds, 30));
    const stop = () => (clearTimeout(timer), reject(new DOMException("", "AbortError")));
    signal.addEventListener("abort", stop, { once: true });
  });
}
