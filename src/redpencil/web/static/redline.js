// @ts-check
/** Drawing the changes between two texts. White space stays exact; a changed line end or tab gets a visible sign. */
import { make } from "./dom.js";

/** @typedef {import("./words.js").Block} Block */

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
