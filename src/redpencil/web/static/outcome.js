// @ts-check
/** What an editor decides about a response: an outcome, a reason, and tags that say why something was changed. */
import { byId, counted, make } from "./dom.js";
import { drawChange } from "./words.js";

/** The outcome and the reason. The outcome follows the text until the person chooses one. */
export class Outcome {
  /** @type {HTMLInputElement[]} */ radios;
  /** @type {HTMLTextAreaElement} */ reason;
  /** @type {string[]} */ needReason;
  followsText = true;

  /**
   * @param {string[]} needReason outcomes for which the project requires a reason
   * @param {() => void} onChange
   */
  constructor(needReason, onChange) {
    this.radios = [.../** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll('input[name="outcome"]'))];
    this.reason = /** @type {HTMLTextAreaElement} */ (byId("reason"));
    this.needReason = needReason;
    for (const radio of this.radios)
      radio.addEventListener("change", () => {
        this.followsText = false;
        this.showNeed();
        onChange();
      });
    this.reason.addEventListener("input", onChange);
  }

  /** The chosen outcome, or "". */
  get value() {
    return this.radios.find((radio) => radio.checked)?.value ?? "";
  }

  /**
   * Start with a task's outcome and reason.
   * @param {string} outcome
   * @param {string} reason
   */
  begin(outcome, reason) {
    this.followsText = outcome === "";
    this.reason.value = reason;
    this.check(outcome);
  }

  /**
   * Add a reason given in another tab below the one on this page.
   * @param {string} reason
   */
  addReason(reason) {
    const here = this.reason.value;
    if (!here.includes(reason)) this.reason.value = reason.includes(here) ? reason : `${here}\n${reason}`;
  }

  /**
   * Choose an outcome for the person.
   * @param {string} outcome
   */
  choose(outcome) {
    this.followsText = false;
    this.check(outcome);
  }

  /**
   * Choose "edited" for a changed text, unless the person has chosen an outcome.
   * @param {boolean} changed
   */
  follow(changed) {
    if (this.followsText) this.check(changed ? "edited" : "");
  }

  /** Follow the text again when the person types, since an outcome that depends on the text may no longer fit. */
  typed() {
    if (["edited", "no_edit_needed"].includes(this.value)) this.followsText = true;
  }

  /**
   * Explain why the outcome cannot be handed in; null if it can.
   * @param {boolean} changed
   * @returns {{sentence: string, field: "outcome" | "reason"} | null}
   */
  objection(changed) {
    if (!this.value)
      return { sentence: "Nothing is changed. Edit the text or choose an outcome.", field: "outcome" };
    if (this.value === "edited" && !changed)
      return { sentence: "Nothing is changed. If it is fine, choose “No edit needed”.", field: "outcome" };
    if (this.value === "no_edit_needed" && changed)
      return { sentence: "The text is changed. Choose “Edited”, or go back to the original.", field: "outcome" };
    if (this.needReason.includes(this.value) && !this.reason.value.trim())
      return { sentence: "Please give a reason for this outcome.", field: "reason" };
    return null;
  }

  /** Move the focus to the outcomes. */
  focus() {
    (this.radios.find((radio) => radio.checked) ?? this.radios[0]).focus();
  }

  /** @param {string} outcome */
  check(outcome) {
    for (const radio of this.radios) radio.checked = radio.value === outcome;
    this.showNeed();
  }

  /** Show whether the outcome needs a reason. */
  showNeed() {
    const needed = this.needReason.includes(this.value);
    this.reason.required = needed;
    byId("reason-need").textContent = needed ? "needed for this outcome" : "optional";
  }
}

/** @typedef {import("./words.js").Block} Block */

/** Number of changes beyond which the rest is not listed. */
const MOST_CHANGES = 200;

/**
 * A tag that the person has given. `home` is the range of the change it was given to, `at` that of the change it
 * belongs to now. `at` is null while the change is reverted; the tag comes back only with the same change, whose new
 * text is `words`.
 * @typedef {{home: string, words: string | null, at: string | null, tag: string}} Given
 */

/** The list of changes, each with a tag. */
export class Tags {
  /** @type {Given[]} */ given = [];
  /** @type {Block[]} */ changes = [];
  /** @type {string[]} */ names;
  /** @type {() => void} */ onChange;
  /** What is listed; the list is redrawn only when this changes. @type {string | null} */ listed = null;

  /**
   * @param {string[]} names
   * @param {() => void} onChange
   */
  constructor(names, onChange) {
    this.names = names;
    this.onChange = onChange;
    byId("tags").hidden = names.length === 0;
  }

  /** The tags by the range of their change in the original, "start-end". @returns {Record<string, string>} */
  get chosen() {
    return Object.fromEntries(this.given.filter(({ at }) => at !== null).reverse().map(({ at, tag }) => [at, tag]));
  }

  /**
   * Start with a task's tags.
   * @param {Record<string, string>} chosen
   */
  begin(chosen) {
    const known = Object.entries(chosen).filter(([, tag]) => this.names.includes(tag));
    this.given = known.map(([home, tag]) => ({ home, words: null, at: home, tag }));
    this.listed = null;
  }

  /**
   * List the current changes. A change that has grown or was split keeps its tag.
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
    for (const one of this.given) this.follow(one, edited);
    byId("tags-count").textContent = counted(this.changes.length, "change");
    const { activeElement } = document;
    const focused = activeElement instanceof HTMLSelectElement ? activeElement.dataset.key : undefined;
    byId("tags-list").replaceChildren(...this.changes.map((block) => this.item(block, original, edited)));
    const select = focused && byId("tags-list").querySelector(`select[data-key="${focused}"]`);
    if (select instanceof HTMLElement) select.focus();
  }

  /** Move the focus to the tag of the next change. */
  focusNext() {
    const selects = /** @type {HTMLSelectElement[]} */ ([...byId("tags-list").querySelectorAll("select")]);
    /** @type {HTMLDetailsElement} */ (byId("tags")).open = true;
    const at = selects.findIndex((select) => select === document.activeElement);
    const place = selects[(at + 1) % selects.length] ?? byId("tags").querySelector("summary");
    place?.focus();
  }

  /**
   * Update the change that a tag belongs to.
   * @param {Given} one
   * @param {string} edited
   */
  follow(one, edited) {
    const same = this.changes.find((block) => keyOf(block) === one.home);
    if (same) {
      const words = edited.slice(...same.edited);
      if (one.at === null && one.words !== null && one.words !== words) return;
      one.at = one.home;
      one.words = words;
    } else if (one.at !== null) {
      const heir = this.changes.find((block) => overlaps(block.original, placeOf(one.home)));
      one.at = heir ? keyOf(heir) : null;
    }
  }

  /**
   * Create the list item of a change.
   * @param {Block} block
   * @param {string} original
   * @param {string} edited
   */
  item(block, original, edited) {
    const key = keyOf(block);
    const now = this.chosen[key] ?? "";
    const options = ["", ...this.names].map((name) =>
      make("option", { value: name, selected: now === name }, name || "no tag"),
    );
    const words = edited.slice(...block.edited);
    const change = drawChange(original.slice(...block.original).trim(), words.trim());
    const select = make("select", { "data-key": key }, ...options);
    select.addEventListener("change", () => {
      const tag = /** @type {HTMLSelectElement} */ (select).value;
      this.given = this.given.filter(({ at, home }) => at !== key && home !== key);
      if (tag) this.given.push({ home: key, words, at: key, tag });
      this.onChange();
    });
    return make("li", {}, make("label", {}, change, select));
  }
}

/**
 * Return the key of a change: its range in the original.
 * @param {Block} block
 */
function keyOf(block) {
  return block.original.join("-");
}

/**
 * Return the range that a key names.
 * @param {string} key
 * @returns {[number, number]}
 */
function placeOf(key) {
  const [start, end] = key.split("-").map(Number);
  return [start, end];
}

/**
 * Tell whether two ranges overlap. An insertion, whose range is empty, overlaps the ranges that it touches.
 * @param {[number, number]} one
 * @param {[number, number]} other
 */
function overlaps([from, to], [start, end]) {
  if (from === to || start === end) return from <= end && start <= to;
  return from < end && start < to;
}
