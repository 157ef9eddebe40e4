// What an answer names: one class, or a set of labels, which may be empty.

import { percent, plain } from "./elements.js";

export const isSet = (answer) => Array.isArray(answer.labels);

/** The names of an answer. */
export const labels = (answer) => (isSet(answer) ? answer.labels : [answer.class]);

/** Their probabilities. */
export const shares = (answer) => (isSet(answer) ? answer.probabilities : [answer.probability]);

/** An answer as text. */
export function told(answer) {
  const each = labels(answer).map((name, i) => `${plain(name)}, ${percent(shares(answer)[i])}`);
  return each.join("; ") || "no label";
}
