// @ts-check
/** What is shown beside the text: the rendered Markdown and how much of the original is kept. */
import { Offline, ask, problemOf } from "./api.js";
import { byId, counted, percent } from "./dom.js";

/** The two views beside the text: what was changed, and how it reads. */
export class Views {
  /** @type {() => string} */ text;
  /** @type {string | null} */ shown = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ timer;

  /** @param {() => string} text */
  constructor(text) {
    this.text = text;
    const tabs = this.tabs();
    tabs.forEach((tab, i) => {
      tab.addEventListener("click", () => this.select(i));
      tab.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        this.select((i + step + tabs.length) % tabs.length);
        this.tabs()[(i + step + tabs.length) % tabs.length].focus();
      });
    });
  }

  /** @returns {HTMLElement[]} */
  tabs() {
    return [byId("tab-redline"), byId("tab-preview")];
  }

  /** @param {number} index */
  select(index) {
    this.tabs().forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === index));
      tab.tabIndex = i === index ? 0 : -1;
      byId(tab.getAttribute("aria-controls") ?? "").hidden = i !== index;
    });
    if (index === 1) void this.render();
  }

  /** From one view to the other. */
  toggle() {
    this.select(byId("preview").hidden ? 1 : 0);
  }

  /** To be called after every change. */
  changed() {
    if (byId("preview").hidden) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.render(), 400);
  }

  async render() {
    const text = this.text();
    if (text === this.shown) return;
    const place = byId("preview");
    try {
      const answer = await ask("POST", "/api/preview", { text });
      if (text !== this.text()) return;
      if (!answer.ok) place.textContent = problemOf(answer);
      else {
        const page = new DOMParser().parseFromString(answer.data.html, "text/html");
        place.replaceChildren(...[...page.body.childNodes].map((node) => document.importNode(node, true)));
        this.shown = text;
      }
    } catch (error) {
      if (!(error instanceof Offline)) throw error;
      place.textContent = "The server does not answer; the preview comes back with it.";
    }
  }
}

/**
 * Limits of a project; null (or 0 for a share) means that there is none.
 * @typedef {object} Limits
 * @property {number} kept_soft
 * @property {number} kept_hard
 * @property {number | null} distance_soft
 * @property {number | null} distance_hard
 */

/**
 * Which limit is passed, and what to say of it.
 * @param {number} kept
 * @param {number} distance
 * @param {Limits} limits
 * @returns {{level: "fine" | "soft" | "hard", note: string}}
 */
export function judge(kept, distance, limits) {
  const passes = (/** @type {number | null} */ limit) => limit !== null && distance > limit;
  if (kept < limits.kept_hard) {
    const note = `Too much is changed to be saved: at least ${percent(limits.kept_hard)} of the words have to stay.`;
    return { level: "hard", note };
  }
  if (passes(limits.distance_hard)) {
    const most = counted(limits.distance_hard ?? 0, "character");
    return { level: "hard", note: `Too much is changed to be saved: at most ${most}.` };
  }
  if (kept < limits.kept_soft) {
    const note = `Fewer than ${percent(limits.kept_soft)} of the words are kept. Is there a smaller edit?`;
    return { level: "soft", note };
  }
  if (passes(limits.distance_soft)) {
    const most = counted(limits.distance_soft ?? 0, "character");
    return { level: "soft", note: `More than ${most} changed. Is there a smaller edit?` };
  }
  return { level: "fine", note: "" };
}

/**
 * @param {number} kept
 * @param {number} distance
 * @param {Limits} limits
 * @param {"page" | "server"} source who measured: the page at once, the server when the typing pauses
 */
export function showMeter(kept, distance, limits, source) {
  const { level, note } = judge(kept, distance, limits);
  const meter = byId("meter");
  meter.dataset.level = level;
  meter.dataset.source = source;
  const bar = byId("meter-bar");
  bar.setAttribute("aria-valuenow", String(Math.round(kept * 100)));
  bar.setAttribute("aria-valuetext", `${percent(kept)} of the words kept, ${counted(distance, "character")} changed`);
  byId("meter-fill").style.transform = `scaleX(${kept})`;
  place(byId("meter-soft"), limits.kept_soft);
  place(byId("meter-hard"), limits.kept_hard);
  byId("meter-kept").textContent = percent(kept);
  byId("meter-distance").textContent = counted(distance, "character");
  const sentence = byId("meter-note");
  if (sentence.textContent !== note) sentence.textContent = note;
}

/**
 * @param {HTMLElement} tick
 * @param {number | null} share
 */
function place(tick, share) {
  tick.hidden = !share;
  if (share) tick.style.left = `${share * 100}%`;
}

const PAUSE_MS = 500;

/** Texts of up to this length together are measured before they are handed in. */
const LONGEST = 200_000;

/** Follows a text and tells what the server measures. */
export class Figures {
  /** @type {(found: {kept: number, distance: number}) => void} */ show;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ timer;
  /** Counts what was followed, so that a late answer is told from the present one. */ turn = 0;
  /** @type {{original: string, text: string, kept: number, distance: number} | null} */ known = null;

  /** @param {(found: {kept: number, distance: number}) => void} show */
  constructor(show) {
    this.show = show;
  }

  /**
   * @param {string} original
   * @param {string} text as the page shows it
   * @param {() => string} exact the text with its exact line ends
   */
  follow(original, text, exact) {
    clearTimeout(this.timer);
    this.turn += 1;
    if (original.length + text.length > LONGEST) return;
    const { known, turn } = this;
    if (known?.original === original && known.text === text) this.show(known);
    else this.timer = setTimeout(() => void this.measure(original, text, exact(), turn), PAUSE_MS);
  }

  /**
   * @param {string} original
   * @param {string} text
   * @param {string} edited
   * @param {number} turn
   */
  async measure(original, text, edited, turn) {
    if (original === edited) return;
    const answer = await ask("POST", "/api/diff", { original, edited }).catch(() => null);
    if (!answer?.ok || turn !== this.turn) return;
    const { kept, distance } = answer.data;
    this.known = { original, text, kept, distance };
    this.show(this.known);
  }
}
