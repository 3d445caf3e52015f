// @ts-check
/**
 * Compare two texts word by word and draw the result as a redline. The comparison follows the server's but is only a
 * preview: the server computes what is stored.
 *
 * A word includes the white space before it. All offsets count UTF-16 code units.
 */
import { diffArrays } from "./vendor/jsdiff/array.js";
import { make } from "./dom.js";

/**
 * A range of both texts. Equal blocks have the same characters on both sides.
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

/** English words that do not separate two edits; the same list as on the server. */
const FUNCTION_WORDS = new Set(
  (
    "a an the this that these those it its he his she her they their and or but nor so also as than which who of to " +
    "in on at by for from with into is are was were be been being has have had do does did"
  ).split(" "),
);

/** Time limit of a comparison of words in milliseconds; after that, lines are compared instead. */
const PATIENCE_MS = 60;

/**
 * Split a text into words; joined, they give the text.
 * @param {string} text
 * @returns {string[]}
 */
function splitWords(text) {
  return text.match(WORD) ?? [];
}

/**
 * Split a text into lines with their line ends; joined, they give the text.
 * @param {string} text
 * @returns {string[]}
 */
function splitLines(text) {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

/**
 * Compare two texts. The blocks are in order and cover both texts without gaps.
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
 * Join changes that only a light gap separates, as a person would mark them: function words and punctuation, or at
 * most a quarter as many words as the smaller of the two changes. Two pure insertions or two pure deletions stay
 * separate.
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
 * Tell whether the gap between two changes is light.
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
 * Count the words of the longer side of a change.
 * @param {[string, string]} texts
 * @param {Block} change
 */
function sizeOf([original, edited], change) {
  return Math.max(splitWords(original.slice(...change.original)).length, splitWords(edited.slice(...change.edited)).length);
}

/**
 * Return the share of the original's words that are kept, from 0 to 1; 1 for an original without words.
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
 * Count the deleted plus the inserted characters. A surrogate pair counts as one, as on the server.
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
 * Return the length of the common prefix, shortened so that it ends before a word in both texts.
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
 * Return the length of the common suffix, shortened so that it begins before the white space of a word in both texts.
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
 * Compare what lies between the common prefix and suffix: by words, or by lines if that takes too long, or else as one
 * change.
 * @param {string} a
 * @param {string} b
 * @param {number} start offset of both in their texts
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
 * Compare two lists of words or lines.
 * @param {string[]} a
 * @param {string[]} b
 * @param {number} start offset of both in their texts
 * @returns {Block[] | null} null if it takes too long
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
    // A space that `firstSpaced` added is counted in the change before.
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
 * Add a leading space to the first word if the other text has it with a space further on. Otherwise words inserted
 * before it would make it look changed.
 * @param {string[]} words
 * @param {string[]} others
 */
function firstSpaced(words, others) {
  const spaced = ` ${words[0]}`;
  if (/^\s/.test(others[0]) || others.includes(words[0]) || !others.includes(spaced)) return words;
  return [spaced, ...words.slice(1)];
}

/**
 * Return the total length of the words from one index up to another.
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
 * Create a block from offsets and lengths.
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
 * Join adjacent changes, and adjacent equal blocks.
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

/** Number of characters by which a change may be moved. */
const LONGEST_SLIDE = 2000;

/**
 * Move each pure insertion or deletion as far right as possible without touching the next change. In "a b" -> "a b b"
 * either b may be the inserted one; this way it is always the same, whatever else is changed.
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

/** Total length of both texts beyond which long unchanged passages are folded. */
const LONG_TEXT = 60_000;
const SHOWN_AROUND = 400;

/**
 * Draw the redline. White space stays exact; changed line ends and tabs get a visible sign.
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
 * Create an element that shows one change: the removed text, then the added text.
 * @param {string} removed
 * @param {string} added
 * @returns {HTMLElement}
 */
export function drawChange(removed, added) {
  return make("span", { class: "change" }, ...change(removed, added));
}

/**
 * Create the nodes of a change. White space that both sides begin with is not marked.
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
 * Create the node of an unchanged passage.
 * @param {string} text
 * @param {boolean} folds whether to shorten a long passage
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
 * Create the element of a removed or added text.
 * @param {"del" | "ins"} tag
 * @param {string} text
 */
function changed(tag, text) {
  /** @type {Record<string, string>} */
  const names = { "\n": "line-end", "\t": "tab" };
  const parts = text.split(/(\n|\t)/).filter(Boolean);
  const drawn = parts.map((part) => (part in names ? make("span", { class: names[part] }, part) : part));
  return make(tag, {}, ...drawn);
}
