// @ts-check
/**
 * A suggested edit, whose changes (hunks) can be taken or left one by one. Whether a hunk is taken is derived from the
 * text, so the browser's undo works here too.
 */
import { announce, byId, counted, make } from "./dom.js";
import { typeInto } from "./text.js";
import { diffWords, drawChange, joinLight } from "./words.js";

/**
 * @typedef {import("./words.js").Block} Block
 * @typedef {{start: number, end: number, removed: string, added: string, before: string, after: string}} Hunk
 * @typedef {{state: "open" | "taken" | "overlaps", from: number, to: number}} Standing
 */

/** Number of characters shown before and after a hunk. */
const CONTEXT = 28;

/**
 * Return the hunks of a suggestion.
 * @param {string} original
 * @param {string} suggestion
 * @returns {Hunk[]}
 */
export function hunksOf(original, suggestion) {
  return joinLight(original, suggestion, diffWords(original, suggestion))
    .filter((block) => block.kind !== "equal")
    .map(({ original: [start, end], edited }) => ({
      start,
      end,
      removed: original.slice(start, end),
      added: suggestion.slice(...edited),
      before: lineBefore(original, start),
      after: lineAfter(original, end),
    }));
}

/**
 * Return the text before an offset in its line, shortened if it is long.
 * @param {string} text
 * @param {number} place
 */
function lineBefore(text, place) {
  const line = text.slice(text.lastIndexOf("\n", place - 1) + 1, place);
  return line.length > CONTEXT ? `…${line.slice(-CONTEXT)}` : line;
}

/**
 * Return the text after an offset in its line, shortened if it is long.
 * @param {string} text
 * @param {number} place
 */
function lineAfter(text, place) {
  const end = text.indexOf("\n", place);
  const line = text.slice(place, end < 0 ? text.length : end);
  return line.length > CONTEXT ? `${line.slice(0, CONTEXT)}…` : line;
}

/**
 * Return whether a hunk is open, taken, or overlaps other changes in the current text, and its range in that text.
 * @param {Hunk} hunk
 * @param {Block[]} blocks from the original to the text
 * @param {string} text
 * @returns {Standing}
 */
export function standing(hunk, blocks, text) {
  const touches = (/** @type {Block} */ { original: [start, end] }) => start <= hunk.end && end >= hunk.start;
  const own = blocks.filter((block) => block.kind !== "equal" && touches(block));
  if (!own.length) {
    const from = placeOf(hunk.start, blocks);
    const to = placeOf(hunk.end, blocks);
    return { state: "open", from, to };
  }
  const [first, last] = [own[0], own[own.length - 1]];
  const from = first.edited[0] - (first.original[0] - hunk.start);
  const to = last.edited[1] + (hunk.end - last.original[1]);
  const covers = first.original[0] >= hunk.start && last.original[1] <= hunk.end;
  if (covers && text.slice(from, to) === hunk.added) return { state: "taken", from, to };
  const aside = own.every(({ original: [start, end] }) => end <= hunk.start || start >= hunk.end);
  const empty = hunk.start === hunk.end;
  if (aside && !empty && own.every((block) => !touchesInside(block, hunk)))
    return { state: "open", from: placeOf(hunk.start, blocks, "after"), to: placeOf(hunk.end, blocks, "before") };
  return { state: "overlaps", from, to };
}

/**
 * Tell whether a change overlaps a hunk and does not merely touch its edge.
 * @param {Block} block
 * @param {Hunk} hunk
 */
function touchesInside({ original: [start, end] }, hunk) {
  return start < hunk.end && end > hunk.start;
}

/**
 * Convert an offset in the original to an offset in the text.
 * @param {number} place
 * @param {Block[]} blocks
 * @param {"before" | "after"} [side] side of an insertion at this offset
 */
function placeOf(place, blocks, side = "before") {
  const found = blocks.filter(({ kind, original: [start, end] }) => kind === "equal" && start <= place && place <= end);
  const block = side === "after" ? found.at(-1) : found[0];
  return block ? block.edited[0] + (place - block.original[0]) : 0;
}

/** @param {Element} item */
function isOpen(item) {
  return /** @type {HTMLElement} */ (item).dataset.state === "open";
}

/** The panel with the hunks of one suggestion. */
export class Suggestions {
  /** @type {HTMLTextAreaElement} */ area;
  /** @type {string} */ original = "";
  /** @type {Hunk[]} */ hunks = [];
  /** Hunks that the person has left. @type {Set<number>} */ left = new Set();
  /** @type {Block[]} */ blocks = [];

  /** @param {HTMLTextAreaElement} area */
  constructor(area) {
    this.area = area;
    byId("suggestion-all").addEventListener("click", () => this.takeAll());
  }

  /**
   * Start with a task's suggestion.
   * @param {string} original
   * @param {string | null} suggestion
   */
  begin(original, suggestion) {
    this.original = original;
    this.hunks = suggestion === null ? [] : hunksOf(original, suggestion);
    this.left = new Set();
    byId("suggestion").hidden = suggestion === null;
    byId("suggestion-none").hidden = suggestion === null || this.hunks.length > 0;
    byId("suggestion-list").replaceChildren(...this.hunks.map((hunk, i) => this.item(hunk, i)));
  }

  /**
   * Update the hunks after a change of the text.
   * @param {Block[]} blocks from the original to the text
   */
  update(blocks) {
    this.blocks = blocks;
    let open = 0;
    this.hunks.forEach((hunk, i) => {
      const { state } = standing(hunk, blocks, this.area.value);
      const shown = state === "open" && this.left.has(i) ? "left" : state;
      const item = /** @type {HTMLElement} */ (byId("suggestion-list").children[i]);
      const [take, leave] = /** @type {HTMLButtonElement[]} */ ([...item.querySelectorAll("button")]);
      item.dataset.state = shown;
      take.setAttribute("aria-disabled", String(state !== "open"));
      leave.setAttribute("aria-disabled", String(shown !== "open"));
      const words = { open: "", taken: "Taken", left: "Left", overlaps: "You changed this place" };
      const note = /** @type {HTMLElement} */ (item.querySelector(".state"));
      note.textContent = words[shown];
      if (shown === "open") open += 1;
    });
    const all = this.hunks.length;
    byId("suggestion-count").textContent = all ? `${open} of ${counted(all, "change")} open` : "";
    byId("suggestion-all").hidden = open < 2;
  }

  /**
   * Put a hunk into the text.
   * @param {number} i
   */
  take(i) {
    const hunk = this.hunks[i];
    const { state, from, to } = standing(hunk, diffWords(this.original, this.area.value), this.area.value);
    if (state !== "open") return;
    this.left.delete(i);
    typeInto(this.area, from, to, hunk.added);
    announce("Taken. Ctrl+Z takes it back.");
  }

  /**
   * Mark a hunk as left.
   * @param {number} i
   */
  leave(i) {
    this.left.add(i);
    this.update(this.blocks);
    announce("Left.");
  }

  /** Take all open hunks that the person has not left. */
  takeAll() {
    for (let i = this.hunks.length - 1; i >= 0; i -= 1) if (!this.left.has(i)) this.take(i);
    this.area.focus();
  }

  /**
   * Move the focus to the next or previous hunk.
   * @param {1 | -1} step
   */
  go(step) {
    const items = [...byId("suggestion-list").children];
    if (!items.length) return;
    const at = items.findIndex((item) => item.contains(document.activeElement));
    const from = at === -1 && step === -1 ? items.length : at;
    const to = (from + step + items.length) % items.length;
    items[to].querySelector("button")?.focus();
  }

  /** Return the hunk that has the focus, else the first open one, else -1. */
  current() {
    const items = [...byId("suggestion-list").children];
    const focused = items.findIndex((item) => item.contains(document.activeElement));
    return focused >= 0 ? focused : items.findIndex(isOpen);
  }

  /**
   * Take or leave the current hunk with a key, and move to the next open one unless the person is typing.
   * @param {"take" | "leave"} what
   */
  decide(what) {
    const i = this.current();
    if (i < 0) return;
    const typing = document.activeElement === this.area;
    this[what](i);
    if (typing) return;
    const items = [...byId("suggestion-list").children];
    const next = items.findIndex(isOpen);
    if (next >= 0) items[next].querySelector("button")?.focus();
    else this.area.focus({ preventScroll: true });
  }

  /**
   * Create the list item of a hunk.
   * @param {Hunk} hunk
   * @param {number} i
   */
  item(hunk, i) {
    const change = drawChange(hunk.removed, hunk.added);
    change.prepend(make("span", { class: "around" }, hunk.before));
    change.append(make("span", { class: "around" }, hunk.after));
    change.id = `hunk-${i}`;
    const button = (/** @type {string} */ label, /** @type {() => void} */ run) =>
      make("button", { type: "button", "aria-describedby": change.id, onclick: run }, label);
    const take = button("Take", () => {
      const typing = document.activeElement;
      this.take(i);
      if (typing instanceof HTMLElement) typing.focus({ preventScroll: true });
    });
    return make(
      "li",
      {},
      change,
      make("span", { class: "choices" }, make("span", { class: "state" }), take, button("Leave", () => this.leave(i))),
    );
  }
}
