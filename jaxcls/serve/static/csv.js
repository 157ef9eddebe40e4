// Answers as a table, with the columns of `jaxcls predict --format csv`, and of which weights they are.

import { isSet } from "./answer.js";

const BESIDE = ["abstained", "set", "energy", "distance", "outlier"];
const FORMULA = /^'*[=+\-@\t\r\n＝＋－＠]/; // what a spreadsheet would compute

export function csv(entries) {
  const done = entries.filter((entry) => entry.state === "done");
  const ranks = Math.max(0, ...done.map((entry) => entry.answer?.top?.length ?? 0));
  const beside = BESIDE.filter((name) => done.some((entry) => entry.answer && name in entry.answer));
  const first = Array.from({ length: ranks }, (_, i) => [`class_${i + 1}`, `probability_${i + 1}`]).flat();
  const answers = done.filter((entry) => entry.answer).map((entry) => entry.answer);
  const named = answers.some((answer) => !isSet(answer)) || !answers.length ? ["class", "probability"] : [];
  const sets = answers.some(isSet) ? ["labels", "probabilities"] : [];
  const columns = ["path", ...named, ...sets, ...first, ...beside, "error", "model", "version", "judged"];
  const lines = done.map((entry) => {
    const { answer = {} } = entry;
    const top = (answer.top ?? []).flatMap((row, i) => [
      [`class_${i + 1}`, row.class],
      [`probability_${i + 1}`, row.probability],
    ]);
    const { name: path, error, model, version, judged } = entry;
    const row = { ...answer, ...Object.fromEntries(top), path, error, model, version, judged };
    return columns.map((column) => cell(row[column]));
  });
  return [columns, ...lines].map((line) => line.join(",") + "\r\n").join("");
}

function cell(value) {
  if (value === undefined || value === null) return "";
  if (typeof value !== "string") return Array.isArray(value) ? cell(value.join("|")) : String(value);
  const plain = FORMULA.test(value) && !/^[+-]?[\d.]+(e[+-]?\d+)?$/i.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

export function save(text, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
