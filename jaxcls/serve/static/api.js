// Requests to the server that the page came from, and to no other: addresses are relative to the page.

const KEY = "jaxcls-key";
let key = "";
try {
  key = sessionStorage.getItem(KEY) ?? "";
} catch {
  // storage is switched off: the key is typed again after a reload
}

/** What the server, or the way to it, has against a request. `status` is 0 where it could not be reached. */
export class Refused extends Error {
  constructor(message, status, wait = 1) {
    super(message);
    this.status = status;
    this.wait = wait; // seconds
  }
}

export function useKey(text) {
  key = text.trim();
  try {
    sessionStorage.setItem(KEY, key);
  } catch {
    // as above
  }
}

async function ask(path, options = {}) {
  const headers = key ? { "X-API-Key": key } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server can't be reached.", 0);
  }
  const body = await response.json().catch(() => null);
  if (body && (response.ok || Array.isArray(body.answers))) return body; // where no picture can be read it says why
  const wait = Number(response.headers.get("retry-after")) || 1;
  throw new Refused(reason(body) ?? `The server answered ${response.status}.`, response.status, wait);
}

function reason(body) {
  for (const found of [body?.error?.message, body?.error, body?.detail, body?.detail?.[0]?.msg]) {
    if (typeof found === "string") return found;
  }
  return null;
}

/** The models and what to know of them. */
export const about = () => ask("about");

/** {model, version, step, answers} of pictures (File or Blob), in their order. */
export function predict(files, names, { model, top, heatmap = false, signal }) {
  const form = new FormData();
  files.forEach((file, i) => form.append("images", file, names[i]));
  form.append("model", model);
  form.append("top", top);
  if (heatmap) form.append("heatmap", "true");
  return ask("predict", { method: "POST", body: form, signal });
}

/** Stores a picture under the class that a person says it is of. */
export function feedback(entry, label) {
  const form = new FormData();
  const { model, version, answer } = entry;
  form.append("image", entry.file, entry.name);
  const fields = { label, predicted: answer.class, model, version, probability: answer.probability };
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  return ask("feedback", { method: "POST", body: form });
}
