// Elements made of text. Names come from strangers: they are only ever text, never markup.

/** An element with properties (`aria-…` and `for` as attributes) and children. */
export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "for" || key === "list") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A name in a line of its own direction, without the marks that turn the direction of what follows. */
export function named(text) {
  return make("bdi", {}, plain(text));
}

export function plain(text) {
  return String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ");
}

/** A share as text; 99.96 % is not rounded to 100 %, nor 0.04 % to 0 %. */
export function percent(share) {
  const value = Math.round(1000 * share) / 10;
  if (value >= 100 && share < 1 - 1e-9) return ">99.9\u00a0%";
  if (value <= 0 && share > 1e-9) return "<0.1\u00a0%";
  return `${value.toFixed(1)}\u00a0%`;
}

export function count(n, one, many = `${one}s`) {
  return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}

/** Bytes as text. */
export function size(bytes) {
  const [unit, name] = bytes >= 2 ** 20 ? [2 ** 20, "MB"] : [2 ** 10, "kB"];
  return `${Math.floor(bytes / unit)}\u00a0${name}`;
}
