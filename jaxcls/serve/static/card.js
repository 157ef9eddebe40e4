// The card of a picture: what was answered, what is in doubt, and the buttons.

import { isSet, labels, shares } from "./answer.js";
import { count, make, named, percent, plain } from "./elements.js";

/**
 * The card of an entry.
 * page: {several (models), doubtful() (share), heatmap(entry) -> address, judge(entry, label) -> label, again(entry)}.
 * about: what is known of the entry's model; undefined where the server has it no more.
 */
export function card(entry, about, page) {
  const item = make("li", { className: `card ${entry.state}` });
  entry.card = item;
  item.append(view(entry), make("p", { className: "name dim" }, named(entry.name)));
  if (entry.state !== "done") {
    item.append(make("p", { className: "waiting" }, "Waiting for the answer …"));
  } else if (entry.error) {
    item.append(make("p", { className: "error" }, plain(entry.error)));
    if (entry.again && entry.file) item.append(button("Try again", () => page.again(entry)));
  } else {
    item.append(...answered(entry, about, page));
  }
  return item;
}

function view(entry) {
  const shown = make("div", { className: `view${entry.small ? " small" : ""}` });
  if (entry.thumb) {
    entry.address ??= URL.createObjectURL(entry.thumb);
    shown.append(make("img", { src: entry.address, alt: `The picture ${plain(entry.name)}`, decoding: "async" }));
  } else {
    shown.append(make("span", { className: "dim" }, entry.thumb === null ? "no preview" : ""));
  }
  return shown;
}

/** Puts the small copy in, once it is there; a heat map over it stays. */
export function pictured(entry) {
  const old = entry.card.querySelector(".view");
  const heat = old.querySelector(".heat");
  const shown = view(entry);
  if (heat) shown.append(heat);
  old.replaceWith(shown);
}

function* answered(entry, about, page) {
  const { answer } = entry;
  yield headline(answer);
  const badges = make("ul", { className: "badges" });
  badges.append(make("li", { className: "low" }));
  if (answer.abstained) badges.append(make("li", {}, "leave it to a person"));
  if (answer.outlier) badges.append(make("li", {}, "unlike the pictures of training"));
  yield badges;
  yield bars(answer);
  if (answer.set?.length > 1) {
    const names = answer.set.slice(0, 8).map(plain).join(", ");
    const more = answer.set.length > 8 ? ` and ${answer.set.length - 8} more` : "";
    yield make("p", { className: "set" }, `Possible: ${names}${more}`);
  }
  if (page.several) yield make("p", { className: "dim" }, `by ${plain(entry.model)}, version ${plain(entry.version)}`);
  const actions = make("div", { className: "actions" });
  if (about?.heatmaps && entry.file) actions.append(...heatmaps(entry, about, page));
  if (entry.judged) actions.append(make("p", { className: "judged" }, "Stored as ", named(entry.judged)));
  else if (page.judge && about && entry.file) actions.append(judging(entry, page));
  if (actions.hasChildNodes()) yield actions;
}

function headline(answer) {
  const each = labels(answer).flatMap((name, i) => [
    i ? ", " : null, named(name), " ", make("span", { className: "share" }, percent(shares(answer)[i])),
  ]); // prettier-ignore
  return make("h3", {}, ...(each.length ? each : ["No label"]));
}

function bars(answer) {
  const set = isSet(answer);
  const rows = answer.top.map((row) => {
    const fill = make("span", { className: "fill" });
    fill.style.width = `${(100 * row.probability).toFixed(2)}%`;
    const chosen = labels(answer).includes(row.class) ? "chosen" : "";
    const track = make("span", { className: "track", "aria-hidden": "true" }, fill);
    const share = make("span", {}, percent(row.probability));
    if (set) {
      share.append(make("span", { className: "dim" }, ` of ${percent(row.threshold)}`));
      const limit = make("span", { className: "limit" });
      limit.style.left = `${(100 * row.threshold).toFixed(2)}%`;
      track.append(limit);
    }
    return make("li", { className: chosen }, named(row.class), share, track);
  });
  return make("ol", { className: "bars", "aria-label": count(rows.length, "most probable class", "most probable classes") }, ...rows);
}

/** Marks the card where the answer is less probable than a share; whether it is. Of sets none is. */
export function mark(entry, share) {
  const low = entry.card?.querySelector(".low");
  if (!low) return false;
  const doubtful = entry.answer.probability < share;
  entry.card.classList.toggle("doubtful", doubtful);
  low.hidden = !doubtful;
  low.textContent = doubtful ? `doubtful: below ${Math.round(100 * share)} %` : "";
  return doubtful;
}

const MAPS = 6; // labels of a set whose heat maps are offered

function heatmaps(entry, about, page) {
  const set = isSet(entry.answer);
  return labels(entry.answer).slice(0, MAPS).map((name, i) => heatmap(entry, about, page, name, set ? i : -1));
}

/** The button of a class's heat map; `place` of it among the labels of a set, -1 where there is one class. */
function heatmap(entry, about, page, name, place) {
  const said = make("p", { className: "dim", role: "status" });
  const toggle = button(place < 0 ? "Heat map" : `Heat map: ${plain(name)}`, async () => {
    const on = toggle.getAttribute("aria-pressed") !== "true";
    const picture = () => entry.card.querySelector(".view"); // which `pictured` may replace meanwhile
    picture().querySelector(".heat")?.remove();
    if (on) {
      for (const other of entry.card.querySelectorAll('.explains [aria-pressed="true"]')) other.click();
      toggle.disabled = true;
      said.textContent = "Being made …";
      try {
        const src = await page.heatmap(entry, Math.max(0, place));
        const alt = `Heat map of ${plain(name)} in ${plain(entry.name)}`;
        picture().append(make("img", { className: "heat", src, alt }));
        said.textContent = `${about.heatmaps}: where it looks, not why.`;
      } catch (error) {
        said.textContent = error.message;
        return;
      } finally {
        toggle.disabled = false;
        toggle.focus();
      }
    } else {
      said.textContent = "";
    }
    toggle.setAttribute("aria-pressed", on);
  });
  toggle.setAttribute("aria-pressed", "false");
  return make("div", { className: "explains" }, toggle, said);
}

function judging(entry, page) {
  const box = make("div", { className: "judging" });
  const said = make("p", { className: "error", role: "alert" });
  const store = async (label) => {
    said.textContent = "";
    try {
      const stored = await page.judge(entry, label);
      const done = make("p", { className: "judged", tabIndex: -1 }, "Stored as ", named(stored));
      box.replaceWith(done);
      done.focus();
    } catch (error) {
      said.textContent = error.message;
    }
  };
  const input = make("input", { list: "classes", required: true, maxLength: 100, autocomplete: "off" });
  const form = make(
    "form",
    { hidden: true },
    make("label", {}, "It is ", input),
    make("button", { className: "primary" }, "Store"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    store(input.value);
  });
  const wrong = button("Wrong …", () => {
    form.hidden = !form.hidden;
    wrong.setAttribute("aria-expanded", !form.hidden);
    if (!form.hidden) input.focus();
  });
  wrong.setAttribute("aria-expanded", "false");
  const right = button("Right", () => store(entry.answer.class));
  for (const each of [right, wrong]) each.setAttribute("aria-label", `${each.textContent}: ${plain(entry.name)}`);
  box.append(right, wrong, form, said);
  return box;
}

function button(text, action) {
  const made = make("button", { type: "button" }, text);
  made.addEventListener("click", action);
  return made;
}
