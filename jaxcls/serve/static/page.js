// The page: gives pictures to the server, keeps the answers, wires the controls up.

import { about, feedback, predict, useKey } from "./api.js";
import { told } from "./answer.js";
import { card, mark, pictured } from "./card.js";
import { csv, save } from "./csv.js";
import { pad } from "./draw.js";
import { count, plain, size } from "./elements.js";
import * as given from "./given.js";
import { show, title } from "./model.js";
import { Sender } from "./sender.js";
import * as store from "./store.js";
import { thumbnail } from "./thumbs.js";

const byId = (id) => document.getElementById(id);
const entries = []; // the newest first, as they are shown
let server; // what /about tells
let sender;
let wanted; // {promise, resolve} while a key is wanted
let soon; // a timer
let next = Date.now(); // ids fall from the first card to the last

const page = { several: false, doubtful: () => byId("threshold").value / 100, heatmap, judge: null, again };

const modelOf = (name) => server.models.find((model) => model.name === name);
const chosen = () => modelOf(byId("model").value) ?? server.models[0];

function add(files) {
  if (!files.length || !sender) return;
  const model = chosen();
  next += files.length;
  const made = files.map((file, i) => ({
    id: next - i, time: Date.now(), name: file.name || "picture", size: file.size, file,
    model: model.name, top: server.top, state: "waiting",
  })); // prettier-ignore
  entries.unshift(...made);
  byId("cards").prepend(...made.map((entry) => card(entry, model, page)));
  for (const entry of made) {
    thumbnail(entry.file).then((found) => {
      Object.assign(entry, found);
      pictured(entry);
      keep(entry);
    });
  }
  sender.add(made);
  summarise();
}

function answered(entry) {
  const old = entry.card;
  if (old?.isConnected) old.replaceWith(card(entry, modelOf(entry.model), page));
  mark(entry, page.doubtful());
  keep(entry);
  soon ??= setTimeout(summarise, 50); // once for many answers
}

/** Into the history, once the answer and the small copy are both there. Errors are not kept. */
function keep(entry) {
  if (entry.answer && entry.thumb !== undefined && entries.includes(entry)) store.put(entry);
}

function again(entry) {
  entry.state = "waiting";
  entry.card.replaceWith(card(entry, modelOf(entry.model), page));
  sender.add([entry]);
}

/** The address of the heat map of an answer's class, or of the label at this place of a set. */
async function heatmap(entry, place = 0) {
  if (!entry.heat) {
    const { name, model, top } = entry;
    const { answers } = await predict([entry.file], [name], { model, top, heatmap: true });
    const found = [answers[0].heatmap ?? []].flat();
    if (!found[place]) throw new Error(answers[0].error ?? "The server gave no heat map.");
    entry.heat = found.map((map) => `data:image/png;base64,${map.replace(/^data:image\/png;base64,/, "")}`);
  }
  return entry.heat[place];
}

async function judge(entry, label) {
  const { label: stored } = await feedback(entry, label);
  entry.judged = stored;
  store.put(entry);
  return stored;
}

function progressed(done, total) {
  byId("progress").hidden = done >= total;
  Object.assign(byId("bar"), { max: total, value: done });
  if (done < total) byId("status").textContent = total > 1 ? `${done} of ${total} answered` : "Waiting for the answer …";
}

function finished(total) {
  const some = entries.filter((entry) => entry.state === "done").slice(0, total);
  const [first] = some;
  if (!first) return; // all cleared meanwhile
  const failed = some.filter((entry) => entry.error).length;
  const doubtful = some.filter((entry) => entry.answer?.probability < page.doubtful()).length;
  if (total === 1) {
    const { error, answer, name } = first;
    byId("status").textContent = `${plain(name)}: ${error ? plain(error) : told(answer)}`;
  } else {
    const parts = [failed && `${failed} without an answer`, doubtful && `${doubtful} doubtful`].filter(Boolean);
    byId("status").textContent = [`${count(total, "picture")} done`, ...parts].join(", ");
  }
}

function summarise() {
  soon = undefined;
  const share = page.doubtful();
  byId("level").textContent = `${Math.round(100 * share)} %`;
  const done = entries.filter((entry) => entry.answer);
  const doubtful = done.filter((entry) => mark(entry, share)).length;
  byId("tools").hidden = !entries.length;
  const part = byId("slider").hidden ? "" : `, ${doubtful} of them doubtful`;
  byId("summary").textContent = entries.length
    ? `${count(done.length, "answer")}${part}. Kept in this browser only, until you clear them.`
    : "None yet. They are kept in this browser only, until you clear them.";
}

async function clear() {
  sender.cancel();
  for (const entry of entries.splice(0)) if (entry.address) URL.revokeObjectURL(entry.address);
  byId("cards").replaceChildren();
  summarise();
  byId("choose").focus();
  await store.clear();
  byId("status").textContent = "Cleared."; // and not before it is
}

/** Asks for a key, and waits for one; `signal` ends that. */
function wantsKey(signal) {
  byId("key").hidden = false;
  byId("secret").focus();
  byId("status").textContent = "This server wants an API key.";
  if (!wanted) {
    wanted = {};
    wanted.promise = new Promise((resolve) => (wanted.resolve = resolve));
  }
  const stopped = new Promise((_, reject) => {
    signal?.addEventListener("abort", () => reject(new DOMException("", "AbortError")), { once: true });
  });
  return Promise.race([wanted.promise, stopped]);
}

function choose(name) {
  const model = modelOf(name) ?? server.models[0];
  show(model);
  byId("threshold").value = Math.round(100 * model.doubtful);
  byId("slider").hidden = Boolean(model.thresholds); // a set is not doubtful as a whole
  byId("draw").hidden = !model.draws;
  if (!model.draws) byId("pad").hidden = true;
  summarise();
}

function wire() {
  for (const [button, input] of [["choose", "files"], ["photo", "camera"]]) {
    byId(button).addEventListener("click", () => byId(input).click());
    byId(input).addEventListener("change", (event) => {
      add([...event.target.files]);
      event.target.value = "";
    });
  }
  document.addEventListener("paste", (event) => add([...event.clipboardData.files]));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    byId("drop").classList.add("over");
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? byId("drop").classList.remove("over"));
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    byId("drop").classList.remove("over");
    add(await given.files(event.dataTransfer));
  });
  byId("model").addEventListener("change", (event) => choose(event.target.value));
  byId("threshold").addEventListener("input", summarise);
  byId("cancel").addEventListener("click", () => sender.cancel());
  byId("csv").addEventListener("click", () => save(csv(entries), "answers.csv"));
  byId("clear").addEventListener("click", clear);
  byId("key").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey(byId("secret").value);
    byId("secret").value = "";
    byId("key").hidden = true;
    wanted?.resolve();
    wanted = undefined;
  });
  byId("draw").addEventListener("click", () => {
    byId("pad").hidden = !byId("pad").hidden;
    byId("draw").setAttribute("aria-expanded", !byId("pad").hidden);
  });
  pad(byId("pad"), (file) => add([file]));
}

/** What /about tells; asks for a key where it is wanted, tells what is wrong and tries again. */
async function meet() {
  for (;;) {
    try {
      const told = await about();
      byId("trouble").hidden = true;
      return told;
    } catch (error) {
      if (error.status === 401) {
        await wantsKey();
        continue;
      }
      byId("trouble").hidden = false;
      byId("trouble").textContent = `${error.message} Trying again …`;
      await new Promise((resolve) => setTimeout(resolve, 3000));
    }
  }
}

async function start() {
  wire();
  server = await meet();
  page.several = server.models.length > 1;
  if (server.feedback) page.judge = judge;
  byId("collects").hidden = !server.feedback;
  const { bytes, pictures } = server.limits;
  byId("accepts").textContent =
    `JPEG, PNG, WebP, BMP, GIF or TIFF of up to ${size(bytes)}; as many as you like, folders too.`;
  sender = new Sender({ bytes, pictures }, { answered, progressed, finished, wantsKey });
  for (const model of server.models) byId("model").append(new Option(`${plain(model.name)} (${title(model)})`, model.name));
  byId("chooser").hidden = !page.several;
  const kept = (await store.all()).map((entry) => ({ ...entry, state: "done" }));
  entries.push(...kept);
  byId("cards").append(...kept.map((entry) => card(entry, modelOf(entry.model), page)));
  choose(server.models[0].name);
  document.documentElement.dataset.ready = "true";
}

start();
