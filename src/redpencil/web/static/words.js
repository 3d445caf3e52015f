// @ts-check
/**
 * Word edits between two texts, as the server sees them, but only as a preview: what is stored the server computes.
 *
 * A word carries the white space before it. All offsets are UTF-16 code units, as JavaScript counts.
 */
import { diffArrays } from "./vendor/jsdiff/array.js";
import { make } from "./dom.js";

/**
 * A stretch of both texts. Equal blocks hold the same characters on both sides.
 * @typedef {object} Block
 * @property {"equal" | "replace" | "delete" | "insert"} kind
 * @property {[number, number]} original
 * @property {[number, number]} edited
 */

const UNSPACED =
  "\\u0e00-\\u0eff\\u1000-\\u109f\\u1780-\\u17ff\\u3005-\\u3007\\u3040-\\u30ff\\u31f0-\\u31ff" +
  "\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\uff66-\\uff9f\\u{20000}-\\u{3ffff}";
const MARK = "[\\p{M}\\u200c\\u200d\\u{1f3fb}-\\u{1f3ff}]";
const LETTER = `(?![${UNSPACED}])[\\p{L}\\p{N}_]`;
const WORD = new RegExp(
  `\\s*(?:(?:${LETTER})(?:${LETTER}|${MARK})*(?:['’](?:${LETTER})(?:${LETTER}|${MARK})*)*` +
    `|[^\\s]${MARK}*(?:(?<=\\u200d)[^\\s]${MARK}*)*)|\\s+`,
  "gu",
);

/** English words too light to keep two edits apart; the same as on the server. */
const FUNCTION_WORDS = new Set(
  (
    "a an the this that these those it its he his she her they their and or but nor so also as than which who of to " +
    "in on at by for from with into is are was were be been being has have had do does did"
  ).split(" "),
);

/** Milliseconds that one comparison of words may take before lines are compared instead. */
const PATIENCE_MS = 60;

/**
 * The words of a text; joined they are the text.
 * @param {string} text
 * @returns {string[]}
 */
export function splitWords(text) {
  return text.match(WORD) ?? [];
}

/**
 * The lines of a text with their line ends; joined they are the text.
 * @param {string} text
 * @returns {string[]}
 */
export function splitLines(text) {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

/**
 * Blocks that tile both texts, in order.
 * @param {string} original
 * @param {string} edited
 * @returns {Block[]}
 */
export function diffWords(original, edited) {
  const start = sharedStart(original, edited);
  const end = sharedEnd(original, edited, start);
  const a = original.slice(start, original.length - end);
  const b = edited.slice(start, edited.length - end);
  /** @type {Block[]} */
  const blocks = [];
  if (start) blocks.push({ kind: "equal", original: [0, start], edited: [0, start] });
  blocks.push(...middle(a, b, start));
  if (end) {
    const from = original.length - end;
    const to = edited.length - end;
    blocks.push({ kind: "equal", original: [from, original.length], edited: [to, edited.length] });
  }
  return slidRight(joined(blocks), original, edited);
}

/**
 * The blocks with changes joined that only a light gap keeps apart, as a person would mark them: function words and
 * punctuation, or at most a quarter of the smaller change beside it. Two pure insertions, or two pure deletions, stay
 * apart.
 * @param {string} original
 * @param {string} edited
 * @param {Block[]} blocks from `diffWords`
 * @returns {Block[]}
 */
export function joinLight(original, edited, blocks) {
  /** @type {Block[]} */
  const result = [];
  blocks.forEach((gap, i) => {
    const [before, after] = [blocks[i - 1], blocks[i + 1]];
    const bridges = gap.kind === "equal" && before && after && belongTogether([original, edited], before, gap, after);
    result.push(bridges ? { ...gap, kind: "replace" } : gap);
  });
  return joined(result);
}

/**
 * @param {[string, string]} texts
 * @param {Block} before
 * @param {Block} gap
 * @param {Block} after
 */
function belongTogether(texts, before, gap, after) {
  if (before.kind === after.kind && before.kind !== "replace") return false;
  if (gap.original[1] - gap.original[0] > LONGEST_SLIDE) return false;
  const words = splitWords(texts[0].slice(...gap.original)).map((word) => word.trim().toLowerCase());
  if (words.every((word) => FUNCTION_WORDS.has(word) || !/[\p{L}\p{N}]/u.test(word))) return true;
  return 4 * words.length <= Math.min(sizeOf(texts, before), sizeOf(texts, after));
}

/**
 * Words of the longer side of a change.
 * @param {[string, string]} texts
 * @param {Block} change
 */
function sizeOf([original, edited], change) {
  return Math.max(splitWords(original.slice(...change.original)).length, splitWords(edited.slice(...change.edited)).length);
}

/**
 * Share of the original's words that are kept, from 0 to 1; 1 for an original without words.
 * @param {string} original
 * @param {Block[]} blocks
 */
export function keptShare(original, blocks) {
  const all = splitWords(original).length;
  if (!all) return 1;
  const same = blocks.filter((block) => block.kind === "equal");
  return same.reduce((sum, block) => sum + splitWords(original.slice(...block.original)).length, 0) / all;
}

/**
 * Characters taken out plus characters put in. A character beyond the first 65,536 counts as one, as on the server.
 * @param {string} original
 * @param {string} edited
 * @param {Block[]} blocks
 */
export function distanceOf(original, edited, blocks) {
  return blocks
    .filter((block) => block.kind !== "equal")
    .map((block) => original.slice(...block.original) + edited.slice(...block.edited))
    .reduce((sum, text) => sum + text.length - (text.match(/[\ud800-\udbff][\udc00-\udfff]/g)?.length ?? 0), 0);
}

/**
 * Length of the shared beginning that ends before a word in both texts.
 * @param {string} a
 * @param {string} b
 */
function sharedStart(a, b) {
  const limit = Math.min(a.length, b.length);
  let i = 0;
  while (i < limit && a.charCodeAt(i) === b.charCodeAt(i)) i += 1;
  if (i === a.length && i === b.length) return i;
  while (i > 0 && !/\S/.test(a[i - 1])) i -= 1;
  while (i > 0 && /\S/.test(a[i - 1])) i -= 1;
  while (i > 0 && !/\S/.test(a[i - 1])) i -= 1;
  return i;
}

/**
 * Length of the shared end that begins before the white space of a word in both texts.
 * @param {string} a
 * @param {string} b
 * @param {number} start
 */
function sharedEnd(a, b, start) {
  const limit = Math.min(a.length, b.length) - start;
  let n = 0;
  while (n < limit && a.charCodeAt(a.length - 1 - n) === b.charCodeAt(b.length - 1 - n)) n += 1;
  const tail = a.slice(a.length - n);
  const before = n < a.length ? a[a.length - n - 1] : "";
  const border = tail.match(/^\S*/)?.[0].length ?? 0;
  const spaces = border === 0 && /\s/.test(before + (n < b.length ? b[b.length - n - 1] : ""));
  if (!spaces) return n - border;
  const skipped = tail.match(/^\s*\S*/)?.[0].length ?? 0;
  return n - skipped;
}

/**
 * @param {string} a
 * @param {string} b
 * @param {number} start where both stand in their texts
 * @returns {Block[]}
 */
function middle(a, b, start) {
  if (!a && !b) return [];
  if (!a || !b) return [block(a ? "delete" : "insert", start, a.length, start, b.length)];
  return compared(splitWords(a), splitWords(b), start) ?? compared(splitLines(a), splitLines(b), start) ?? [
    block("replace", start, a.length, start, b.length),
  ];
}

/**
 * @param {string[]} a
 * @param {string[]} b
 * @param {number} start where both stand in their texts
 * @returns {Block[] | null} null where it takes too long
 */
function compared(a, b, start) {
  const changes = start
    ? diffArrays(a, b, { timeout: PATIENCE_MS })
    : diffArrays(firstSpaced(a, b), firstSpaced(b, a), { timeout: PATIENCE_MS });
  if (!changes) return null;
  /** @type {Block[]} */
  const blocks = [];
  let [i, j, from, to] = [0, 0, start, start];
  for (const { added, removed, count } of changes) {
    const taken = added ? 0 : lengthOf(a, i, i + count);
    const put = removed ? 0 : lengthOf(b, j, j + count);
    i += added ? 0 : count;
    j += removed ? 0 : count;
    // A space that `firstSpaced` overlooked belongs to the change before.
    const surplus = added || removed ? 0 : taken - put;
    const [lost, gained] = [Math.max(surplus, 0), Math.max(-surplus, 0)];
    if (surplus) blocks.push(block(lost ? "delete" : "insert", from, lost, to, gained));
    const kind = added ? "insert" : removed ? "delete" : "equal";
    blocks.push(block(kind, from + lost, taken - lost, to + gained, put - gained));
    from += taken;
    to += put;
  }
  return blocks;
}

/**
 * The words of a text, the first one with the leading space that it has in the other text, where it stands further on:
 * so a new opener leaves the old first word as it is.
 * @param {string[]} words
 * @param {string[]} others
 */
function firstSpaced(words, others) {
  const spaced = ` ${words[0]}`;
  if (/^\s/.test(others[0]) || others.includes(words[0]) || !others.includes(spaced)) return words;
  return [spaced, ...words.slice(1)];
}

/**
 * @param {string[]} words
 * @param {number} from
 * @param {number} to
 */
function lengthOf(words, from, to) {
  let length = 0;
  for (let i = from; i < to; i += 1) length += words[i].length;
  return length;
}

/**
 * @param {Block["kind"]} kind
 * @param {number} a
 * @param {number} aLength
 * @param {number} b
 * @param {number} bLength
 * @returns {Block}
 */
function block(kind, a, aLength, b, bLength) {
  return { kind, original: [a, a + aLength], edited: [b, b + bLength] };
}

/**
 * Touching changes become one, touching equal blocks too.
 * @param {Block[]} blocks
 * @returns {Block[]}
 */
function joined(blocks) {
  /** @type {Block[]} */
  const result = [];
  for (const next of blocks) {
    const last = result.at(-1);
    if (!last || (last.kind === "equal") !== (next.kind === "equal")) {
      result.push({ kind: next.kind, original: [...next.original], edited: [...next.edited] });
      continue;
    }
    last.original[1] = next.original[1];
    last.edited[1] = next.edited[1];
    if (last.kind !== "equal") {
      const [taken, put] = [last.original[1] > last.original[0], last.edited[1] > last.edited[0]];
      last.kind = taken && put ? "replace" : taken ? "delete" : "insert";
    }
  }
  return result;
}

/** How far a change may be moved, in characters. */
const LONGEST_SLIDE = 2000;

/**
 * Move each pure insertion or deletion as far right as it can go without touching the next change: "a b" -> "a b b" may
 * add either b, and the same one has to be named whatever else is changed.
 * @param {Block[]} blocks
 * @param {string} original
 * @param {string} edited
 * @returns {Block[]}
 */
function slidRight(blocks, original, edited) {
  blocks.forEach((change, i) => {
    const following = blocks[i + 1];
    if (!following || (change.kind !== "insert" && change.kind !== "delete")) return;
    const moved = splitWords(
      change.kind === "insert" ? edited.slice(...change.edited) : original.slice(...change.original),
    );
    const [from, to] = following.original;
    const after = splitWords(original.slice(from, Math.min(to, from + LONGEST_SLIDE)));
    const last = i + 2 < blocks.length ? after.length - 1 : after.length;
    let shift = 0;
    for (let n = 0; n < last && moved[n % moved.length] === after[n]; n += 1) shift += after[n].length;
    if (!shift) return;
    const before = blocks[i - 1];
    if (before) {
      before.original[1] += shift;
      before.edited[1] += shift;
    } else {
      blocks.push(block("equal", change.original[0], shift, change.edited[0], shift));
    }
    for (const span of [change.original, change.edited]) {
      span[0] += shift;
      span[1] += shift;
    }
    following.original[0] += shift;
    following.edited[0] += shift;
  });
  return blocks
    .filter(({ original: [a, aEnd], edited: [b, bEnd] }) => aEnd > a || bEnd > b)
    .sort((one, other) => one.original[0] - other.original[0] || one.edited[0] - other.edited[0]);
}

/** Beyond this length stretches that nobody changed are folded. */
const LONG_TEXT = 60_000;
const SHOWN_AROUND = 400;

/**
 * Fill `place` with the redline.
 * @param {HTMLElement} place
 * @param {string} original
 * @param {string} edited
 * @param {Block[]} blocks
 */
export function drawRedline(place, original, edited, blocks) {
  const folds = original.length + edited.length > LONG_TEXT;
  const pieces = document.createDocumentFragment();
  for (const { kind, original: a, edited: b } of blocks) {
    if (kind === "equal") pieces.append(unchanged(edited.slice(...b), folds));
    else pieces.append(...change(original.slice(...a), edited.slice(...b)));
  }
  place.replaceChildren(pieces);
}

/**
 * A change as one line: what goes and what comes.
 * @param {string} removed
 * @param {string} added
 * @returns {HTMLElement}
 */
export function drawChange(removed, added) {
  return make("span", { class: "change" }, ...change(removed, added));
}

/**
 * White space that both sides begin with is no change.
 * @param {string} removed
 * @param {string} added
 * @returns {(Node | string)[]}
 */
function change(removed, added) {
  const [before, after] = [removed.match(/^\s*/)?.[0] ?? "", added.match(/^\s*/)?.[0] ?? ""];
  const shared = before === after ? before : "";
  const [space, out, into] = [shared, removed.slice(shared.length), added.slice(shared.length)];
  return [space, out && changed("del", out), into && changed("ins", into)].filter((part) => part !== "");
}

/**
 * @param {string} text
 * @param {boolean} folds
 * @returns {Node}
 */
function unchanged(text, folds) {
  if (!folds || text.length < 3 * SHOWN_AROUND) return document.createTextNode(text);
  const hidden = (text.length - 2 * SHOWN_AROUND).toLocaleString("en");
  const fold = make("span", { class: "fold" }, ` [${hidden} characters unchanged] `);
  const both = document.createDocumentFragment();
  both.append(text.slice(0, SHOWN_AROUND), fold, text.slice(-SHOWN_AROUND));
  return both;
}

/**
 * @param {"del" | "ins"} tag
 * @param {string} text
 */
function changed(tag, text) {
  const names = { "\n": "line-end", "\t": "tab" };
  const parts = text.split(/(\n|\t)/).filter(Boolean);
  const drawn = parts.map((part) => (part in names ? make("span", { class: names[part] }, part) : part));
  return make(tag, {}, ...drawn);
}
