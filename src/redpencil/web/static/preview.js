// @ts-check
/** Feedback on the text in the editor: the rendered Markdown, and the meter of how much of the original is kept. */
import { Offline, ask, problemOf } from "./api.js";
import { byId, counted, percent } from "./dom.js";

/** The tabs beside the text: the redline and the preview. The server renders the preview and escapes all markup. */
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

  /**
   * Show one of the tabs.
   * @param {number} index
   */
  select(index) {
    this.tabs().forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === index));
      tab.tabIndex = i === index ? 0 : -1;
      byId(tab.getAttribute("aria-controls") ?? "").hidden = i !== index;
    });
    if (index === 1) void this.render();
  }

  /** Switch to the other tab. */
  toggle() {
    this.select(byId("preview").hidden ? 1 : 0);
  }

  /** Schedule rendering. The page calls this after every change. */
  changed() {
    if (byId("preview").hidden) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.render(), 400);
  }

  /** Fetch and show the preview. */
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
 * Limits of a project; null, or 0 for a share, means no limit.
 * @typedef {object} Limits
 * @property {number} kept_soft
 * @property {number} kept_hard
 * @property {number | null} distance_soft
 * @property {number | null} distance_hard
 */

/**
 * Return which limit is passed, with a message about it.
 * @param {number} kept
 * @param {number} distance
 * @param {Limits} limits
 * @returns {{level: "fine" | "soft" | "hard", note: string}}
 */
function judge(kept, distance, limits) {
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
 * Show how much is kept and changed, against the limits.
 * @param {number} kept
 * @param {number} distance
 * @param {Limits} limits
 * @param {"page" | "server"} source where the figures come from: the page at once, or the server when typing pauses
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
 * Place the tick of a limit on the meter.
 * @param {HTMLElement} tick
 * @param {number | null} share
 */
function place(tick, share) {
  tick.hidden = !share;
  if (share) tick.style.left = `${share * 100}%`;
}

const PAUSE_MS = 500;

/** Total length of both texts up to which the server is asked. */
const LONGEST = 200_000;

/**
 * Fetches the server's figures of an edit when typing pauses. These are the figures that are stored and checked against
 * the limits; the page may align a few words differently.
 */
export class Figures {
  /** @type {(found: {kept: number, distance: number}) => void} */ show;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ timer;
  /** Number of texts followed, to recognize answers that are late. */ turn = 0;
  /** @type {{original: string, text: string, kept: number, distance: number} | null} */ known = null;

  /** @param {(found: {kept: number, distance: number}) => void} show */
  constructor(show) {
    this.show = show;
  }

  /**
   * Show the figures of a text, at once if they are known.
   * @param {string} original
   * @param {string} text as the page shows it
   * @param {() => string} exact returns the text with its exact line ends
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
   * Ask the server for the figures.
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
