// @ts-check
/** How much of the response is kept, against the limits that the project sets. */
import { byId, counted, percent } from "./dom.js";

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
