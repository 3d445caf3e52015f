// @ts-check
/** Tags on what was changed: why a place of the original had to go. An insertion has an empty place. */
import { byId, counted, make } from "./dom.js";
import { drawChange } from "./redline.js";

/** @typedef {import("./words.js").Block} Block */

/** Changes beyond this many are not listed; nobody tags them one by one. */
const MOST_CHANGES = 200;

/** The list of changes with a tag each. */
export class Tags {
  /** By place in the original, "start-end". @type {Record<string, string>} */ chosen = {};
  /** @type {Block[]} */ changes = [];
  /** @type {string[]} */ names;
  /** @type {() => void} */ onChange;
  /** What is listed now, so that it is only drawn anew when it differs. @type {string | null} */ listed = null;

  /**
   * @param {string[]} names
   * @param {() => void} onChange
   */
  constructor(names, onChange) {
    this.names = names;
    this.onChange = onChange;
    byId("tags").hidden = names.length === 0;
  }

  /** @param {Record<string, string>} chosen */
  begin(chosen) {
    this.chosen = { ...chosen };
    this.listed = null;
  }

  /**
   * List the changes as they are now. A change that moved or grew keeps the tag of the one that it overlaps.
   * @param {string} original
   * @param {string} edited
   * @param {Block[]} blocks
   */
  update(original, edited, blocks) {
    if (!this.names.length) return;
    this.changes = blocks.filter((block) => block.kind !== "equal").slice(0, MOST_CHANGES);
    const listed = this.changes.map((block) => `${keyOf(block)} ${edited.slice(...block.edited)}`).join("\n");
    if (listed === this.listed) return;
    this.listed = listed;
    this.carryOver();
    byId("tags-count").textContent = counted(this.changes.length, "change");
    const { activeElement } = document;
    const focused = activeElement instanceof HTMLSelectElement ? activeElement.dataset.key : undefined;
    byId("tags-list").replaceChildren(...this.changes.map((block) => this.item(block, original, edited)));
    if (focused) byId("tags-list").querySelector(`select[data-key="${focused}"]`)?.focus();
  }

  /** What goes to the server. */
  toSend() {
    return this.changes
      .filter((block) => this.chosen[keyOf(block)])
      .map((block) => ({ start: block.original[0], end: block.original[1], tag: this.chosen[keyOf(block)] }));
  }

  carryOver() {
    for (const [key, tag] of Object.entries(this.chosen)) {
      const [start, end] = key.split("-").map(Number);
      const heir = this.changes.find(({ original: [from, to] }) => from <= end && to >= start);
      if (heir && !this.chosen[keyOf(heir)]) this.chosen[keyOf(heir)] = tag;
    }
  }

  /**
   * @param {Block} block
   * @param {string} original
   * @param {string} edited
   */
  item(block, original, edited) {
    const key = keyOf(block);
    const options = ["", ...this.names].map((name) =>
      make("option", { value: name, selected: (this.chosen[key] ?? "") === name }, name || "no tag"),
    );
    const change = drawChange(original.slice(...block.original).trim(), edited.slice(...block.edited).trim());
    const select = make("select", { "data-key": key }, ...options);
    select.addEventListener("change", () => {
      const { value } = /** @type {HTMLSelectElement} */ (select);
      if (value) this.chosen[key] = value;
      else delete this.chosen[key];
      this.onChange();
    });
    return make("li", {}, make("label", {}, change, select));
  }
}

/** @param {Block} block */
function keyOf(block) {
  return block.original.join("-");
}
