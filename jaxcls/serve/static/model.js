// What the page says of the model: how good it was measured to be, and what to know before relying on it.

import { count, make, named, percent, plain } from "./elements.js";

const byId = (id) => document.getElementById(id);
const NAMES = 200; // classes that are listed

export function title(model) {
  return `${plain(model.model)}${model.data ? ` on ${plain(model.data)}` : ""}`;
}

/** Fills the page's parts about a model. */
export function show(model) {
  byId("title").textContent = title(model);
  document.title = `${title(model)} · jaxcls`;
  const link = make("a", { href: "#about" }, "Before you rely on it");
  byId("subtitle").replaceChildren(...[count(model.classes.length, "class", "classes"), right(model.accuracy)].flatMap(
    (part) => (part ? [`${part}\u00a0· `] : []),
  ), link);
  byId("accuracy").replaceChildren(...accuracy(model));
  byId("limits").hidden = !model.limits.length;
  byId("limits").querySelector("ul").replaceChildren(...model.limits.map((line) => make("li", {}, plain(line))));
  byId("facts").replaceChildren(...facts(model).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  byId("classes").replaceChildren(...model.classes.map((name) => make("option", { value: name })));
}

function right(measured) {
  if (measured?.mAP !== undefined) {
    return `mAP ${percent(measured.mAP)} on ${measured.count.toLocaleString("en")} ${measured.of}`;
  }
  return measured && `${percent(measured.accuracy)} of ${measured.count.toLocaleString("en")} ${measured.of} right`;
}

function* accuracy(model) {
  const measured = model.accuracy;
  if (!measured) return;
  const [low, high] = measured.interval.map(percent);
  yield make("p", { className: "figure" }, percent(measured.mAP ?? measured.accuracy));
  const what = measured.mAP !== undefined ? "mean average precision (mAP) on" : "right of";
  const told = `${what} ${count(measured.count, "picture").replace(/ pictures?$/, "")} ${measured.of}; on further ones of the same kind expect ${low} to ${high} (95\u00a0% interval).`;
  yield make("p", {}, told);
  if (model.verdict) yield make("details", {}, make("summary", {}, "In words"), make("p", {}, plain(model.verdict)));
}

/** From which probability on a class is named, where there are several labels a picture. */
const from = (model, i) => (model.thresholds ? make("span", { className: "dim" }, ` from ${percent(model.thresholds[i])}`) : null);

function facts(model) {
  const [channels, width, height, frames] = [...model.picture].reverse(); // frames: of clips
  const names = make("ul", {}, ...model.classes.slice(0, NAMES).map((name, i) => make("li", {}, named(name), from(model, i))));
  if (model.classes.length > NAMES) names.append(make("li", {}, `and ${model.classes.length - NAMES} more`));
  return [
    ["Served as", named(model.name)],
    ["Network", named(model.model)],
    ["Trained on", model.data ? named(model.data) : "not known"],
    ["Version", named(model.version)],
    ["Answers with", model.thresholds ? "several labels a picture, or none" : "one class a picture"],
    [frames ? `Sees ${frames} frames of` : "Sees pictures of", `${width} × ${height} pixels, ${channels === 1 ? "grey" : "colour"}`],
    ["Probabilities", model.calibrated ? "calibrated" : "as the network states them"],
    ["Heat maps", model.heatmaps ?? "none"],
    ["Classes", make("details", {}, make("summary", {}, model.classes.length.toLocaleString("en")), names)],
  ];
}
