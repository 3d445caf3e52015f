// @ts-check
/**
 * Texts in a textarea: their line ends, and changes that the browser can undo.
 *
 * A textarea knows only "\n". Its text is compared with the original, and every line that was not touched gets back its
 * original line end ("\r\n", "\r" or "\n").
 */
import { diffArrays } from "./vendor/jsdiff/array.js";

/** Number of changed lines beyond which lines are matched by position instead of aligned. */
const LARGEST_CHANGE = 2000;

/**
 * Convert a text to the form that a textarea holds.
 * @param {string} text
 */
export function toTextarea(text) {
  return text.replace(/\r\n?/g, "\n");
}

/**
 * Convert the text of a textarea to the exact text, with the line ends of the original. The same arguments always give
 * the same text.
 * @param {string} original
 * @param {string} value
 */
export function fromTextarea(original, value) {
  if (!original.includes("\r")) return value;
  const before = linesOf(original);
  const usual = mostUsual(before.map((line) => line.end).filter(Boolean));
  const after = linesOf(value);
  const ends = alignedEnds(before, after);
  let exact = "";
  after.forEach((line, i) => {
    const end = line.end && (ends[i] || usual);
    // The "\n" of an empty line after a "\r" would be read as a single "\r\n".
    exact += line.text + (end === "\n" && !line.text && exact.endsWith("\r") ? "\r\n" : end);
  });
  return exact;
}

/**
 * Return a function that converts offsets in the text of a textarea to offsets in the exact text.
 * @param {string} original
 * @returns {(place: number) => number}
 */
export function exactPlaces(original) {
  const dropped = [...original.matchAll(/\r\n/g)].map((match, i) => match.index - i);
  return (place) => place + dropped.filter((at) => at < place).length;
}

/**
 * Return a function that converts offsets in the exact text to offsets in the text of a textarea.
 * @param {string} original
 * @returns {(place: number) => number}
 */
export function shownPlaces(original) {
  const pairs = [...original.matchAll(/\r\n/g)].map((match) => match.index);
  return (place) => place - pairs.filter((at) => at < place).length;
}

/**
 * Split a text into lines and their line ends.
 * @typedef {{text: string, end: string}} Line
 * @param {string} text
 * @returns {Line[]}
 */
function linesOf(text) {
  return [...text.matchAll(/([^\r\n]*)(\r\n|\r|\n|$)/g)]
    .filter((match) => match[0] !== "")
    .map((match) => ({ text: match[1], end: match[2] }));
}

/**
 * Return the most frequent line end.
 * @param {string[]} ends
 */
function mostUsual(ends) {
  const counts = new Map();
  for (const end of ends) counts.set(end, (counts.get(end) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? "\n";
}

/**
 * Return for each line of `after` the line end of the matching line of `before`; "" if there is none.
 * @param {Line[]} before
 * @param {Line[]} after
 * @returns {string[]}
 */
function alignedEnds(before, after) {
  const same = (/** @type {Line} */ a, /** @type {Line} */ b) => a.text === b.text && !a.end === !b.end;
  let start = 0;
  while (start < before.length && start < after.length && same(before[start], after[start])) start += 1;
  const limit = Math.min(before.length, after.length) - start;
  let tail = 0;
  while (tail < limit && same(before[before.length - 1 - tail], after[after.length - 1 - tail])) tail += 1;
  const ends = before.slice(0, start).map((line) => line.end);
  const old = before.slice(start, before.length - tail);
  const young = after.slice(start, after.length - tail);
  ends.push(...changedEnds(old, young, same));
  return ends.concat(before.slice(before.length - tail).map((line) => line.end));
}

/**
 * Do the same for the lines between the common first and last lines.
 * @param {Line[]} old
 * @param {Line[]} young
 * @param {(a: Line, b: Line) => boolean} same
 * @returns {string[]}
 */
function changedEnds(old, young, same) {
  const changes = diffArrays(old, young, { comparator: same, maxEditLength: LARGEST_CHANGE });
  if (!changes) return young.map((_, i) => old[i]?.end ?? "");
  /** @type {string[]} */
  const ends = [];
  /** @type {string[]} */
  let removed = [];
  let i = 0;
  for (const change of changes) {
    if (change.removed) {
      removed = old.slice(i, i + change.count).map((line) => line.end);
      i += change.count;
    } else if (change.added) {
      const given = removed;
      ends.push(...Array.from({ length: change.count }, (_, n) => given[n] ?? ""));
      removed = [];
    } else {
      ends.push(...old.slice(i, i + change.count).map((line) => line.end));
      i += change.count;
      removed = [];
    }
  }
  return ends;
}

/**
 * Replace a range as if it had been typed, so that the browser's undo (Ctrl+Z) works.
 * @param {HTMLTextAreaElement} area
 * @param {number} start
 * @param {number} end
 * @param {string} text
 */
export function typeInto(area, start, end, text) {
  if (area.value.slice(start, end) === text) return;
  area.focus({ preventScroll: true });
  area.setSelectionRange(start, end);
  const done = text === "" ? document.execCommand("delete") : document.execCommand("insertText", false, text);
  if (!done) {
    area.setRangeText(text, start, end, "end");
    area.dispatchEvent(new InputEvent("input", { bubbles: true }));
  }
}

/**
 * Replace the whole text, changing only what lies between the common prefix and suffix.
 * @param {HTMLTextAreaElement} area
 * @param {string} text
 */
export function typeAll(area, text) {
  const old = area.value;
  let start = 0;
  while (start < old.length && start < text.length && old[start] === text[start]) start += 1;
  let tail = 0;
  const limit = Math.min(old.length, text.length) - start;
  while (tail < limit && old[old.length - 1 - tail] === text[text.length - 1 - tail]) tail += 1;
  if (splitsPair(old, start) || splitsPair(text, start)) start -= 1;
  if (splitsPair(old, old.length - tail) || splitsPair(text, text.length - tail)) tail -= 1;
  typeInto(area, start, old.length - tail, text.slice(start, text.length - tail));
}

/**
 * Tell whether an offset is inside a surrogate pair.
 * @param {string} text
 * @param {number} at
 */
function splitsPair(text, at) {
  return at > 0 && at < text.length && /[\udc00-\udfff]/.test(text[at]) && /[\ud800-\udbff]/.test(text[at - 1]);
}
