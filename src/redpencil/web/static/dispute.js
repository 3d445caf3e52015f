// @ts-check
/** Settling a dispute: alternatives are chosen place by place, and the text that comes out can be changed by hand. */
import { Offline, ask, problemOf } from "./api.js";
import { announce, byId, counted, percent, read, showTimes, write } from "./dom.js";
import { bindDialogs, bindKeys, sharedActions, showProblem, showSettled, tellSettled } from "./page.js";
import { fromTextarea, toTextarea, typeAll } from "./text.js";
import { diffWords, distanceOf, drawRedline, joinLight, keptShare } from "./words.js";

/**
 * @typedef {{text: string, editors: string[], original: boolean}} Alternative
 * @typedef {{before: string, alternatives: Alternative[]}} Place
 * @typedef {{editor: string, submission_id: number, outcome: string, edited: string | null}} Voice
 * @typedef {{item_id: number, original: string, version: number, voices: Voice[], places: Place[], after: string,
 *   decision: {outcome: string, edited: string | null, reason: string} | null, next_item_id: number | null}} Dispute
 * @typedef {{version: number, text: string, choices: (number | null)[], outcome: string, reason: string}} Kept
 */

showTimes();

/** @type {Dispute} */
const dispute = JSON.parse(byId("dispute").dataset.dispute ?? "");
const area = /** @type {HTMLTextAreaElement} */ (byId("result"));
const reason = /** @type {HTMLInputElement} */ (byId("reason"));
const form = /** @type {HTMLFormElement} */ (byId("decision"));
const kept = `redpencil dispute ${document.body.dataset.person ?? ""} ${dispute.item_id}`;
const speakers = dispute.voices.filter((voice) => voice.outcome !== "cannot_be_fixed").length;

let byHand = false;
let busy = false;
let warned = false;
/** @type {number | undefined} */
let drawing;

/** @param {number} place @returns {HTMLInputElement[]} */
function radios(place) {
  return [.../** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll(`input[name="place-${place}"]`))];
}

/** Which alternative is chosen at each place; null where none is. */
function choices() {
  return dispute.places.map((_, i) => {
    const chosen = radios(i).findIndex((radio) => radio.checked);
    return chosen < 0 ? null : chosen;
  });
}

/** The text by the choices; where nothing is chosen the original stays. */
function merged() {
  const chosen = choices();
  const parts = dispute.places.map((place, i) => place.before + place.alternatives[chosen[i] ?? 0].text);
  return parts.join("") + dispute.after;
}

/** The text in the page, with the original's line ends. */
function exactText() {
  return !byHand && area.value === toTextarea(merged()) ? merged() : fromTextarea(dispute.original, area.value);
}

/** What most of the editors have at a place, or nothing. */
function majority(/** @type {Place} */ place) {
  const found = place.alternatives.findIndex((alternative) => 2 * alternative.editors.length > speakers);
  return found < 0 ? null : found;
}

/** @param {(number | null)[]} chosen */
function choose(chosen) {
  chosen.forEach((alternative, i) => {
    radios(i).forEach((radio, n) => {
      radio.checked = n === alternative;
    });
  });
}

function chosenAnew() {
  if (!byHand) {
    area.value = toTextarea(merged());
    followText();
  }
  show();
  remember();
}

/** The outcome that the text has: an edit, or the original as it was. */
function followText() {
  if (outcome() !== "cannot_be_fixed") setOutcome(exactText() === dispute.original ? "no_edit_needed" : "edited");
}

function outcome() {
  return String(new FormData(form).get("outcome") ?? "");
}

/** @param {string} value */
function outcomeName(value) {
  return form.querySelector(`input[value="${value}"]`)?.parentElement?.querySelector("b")?.textContent ?? "";
}

/** @param {string} value */
function setOutcome(value) {
  const radio = form.querySelector(`input[name="outcome"][value="${value}"]`);
  if (radio instanceof HTMLInputElement) radio.checked = true;
}

function show() {
  cancelAnimationFrame(drawing ?? 0);
  drawing = requestAnimationFrame(draw);
  const open = choices().filter((chosen) => chosen === null).length;
  document.querySelectorAll(".place").forEach((place, i) => place.classList.toggle("undecided", choices()[i] === null));
  byId("undecided").textContent = !dispute.places.length
    ? "The texts are the same: only the outcome is to be decided."
    : open
      ? `${counted(open, "place")} of ${dispute.places.length} ${open === 1 ? "is" : "are"} still open, with a frame around; there the text stays as it was.`
      : "All places are decided.";
  byId("by-hand").hidden = !byHand;
  warnOfOpen(open);
}

/**
 * Beside the places, where the keyboard goes: how many are open and what deciding would now come to.
 * @param {number} open
 */
function warnOfOpen(open) {
  const alert = byId("open-places");
  alert.hidden = !warned || !open || byHand || outcome() === "cannot_be_fixed";
  if (alert.hidden) return;
  const against = outcome() === "no_edit_needed" && dispute.voices.every((voice) => voice.outcome === "edited");
  const { length } = dispute.voices;
  const everybody = length === 1 ? "the editor" : length === 2 ? "both editors" : `all ${length} editors`;
  const text =
    `${counted(open, "place")} ${open === 1 ? "is" : "are"} still open. Once more keeps the original there: ` +
    `${outcomeName(outcome())}${against ? `, though ${everybody} changed it` : ""}.`;
  if (alert.textContent !== text) alert.textContent = text;
}

function draw() {
  const [original, text] = [toTextarea(dispute.original), area.value];
  const blocks = diffWords(original, text);
  drawRedline(byId("redline"), original, text, blocks);
  const distance = distanceOf(original, text, joinLight(original, text, blocks));
  byId("measure").textContent = `${percent(keptShare(original, blocks))} of the words kept, ${counted(distance, "character")} changed`;
}

function remember() {
  write(kept, { version: dispute.version, text: area.value, choices: choices(), outcome: outcome(), reason: reason.value });
}

/** The submissions that have a chosen alternative which is not the original. */
function sources() {
  const chosen = choices();
  const editors = new Set(
    dispute.places.flatMap((place, i) => {
      const alternative = place.alternatives[chosen[i] ?? 0];
      return alternative.original ? [] : alternative.editors;
    }),
  );
  return dispute.voices.filter((voice) => editors.has(voice.editor)).map((voice) => voice.submission_id).sort((a, b) => a - b);
}

/** The first place where nothing is chosen; once it was pointed out, leaving it open is a choice. */
function openPlace() {
  const open = choices().indexOf(null);
  if (open < 0 || byHand || warned) return null;
  warned = true;
  return radios(open)[0];
}

async function decide() {
  if (busy) return;
  const open = outcome() === "cannot_be_fixed" ? null : openPlace();
  if (open) {
    showProblem("");
    show();
    open.focus();
    return;
  }
  busy = true;
  showProblem("");
  let leaving = false;
  try {
    const chosen = outcome();
    const answer = await ask("POST", `/api/disputes/${dispute.item_id}`, {
      version: dispute.version,
      outcome: chosen,
      text: chosen === "edited" ? exactText() : null,
      reason: reason.value,
      merged_from: chosen === "edited" ? sources() : [],
    });
    if (answer.ok) {
      write(kept, null);
      tellSettled(dispute.item_id);
      leaving = true;
      go(answer.data.next_item_id);
      return;
    }
    showProblem(problemOf(answer));
    if (answer.status === 409) showStale(answer.data.text);
  } catch (error) {
    if (!(error instanceof Offline)) throw error;
    showProblem("The server does not answer. Your text is kept in this browser; try again.");
  } finally {
    // While the next page is on its way this one does nothing more.
    busy = leaving;
  }
}

/** @param {number | null} item the next dispute, or null for the list */
function go(item) {
  location.href = item === null ? "/disputes" : `/disputes/${item}`;
}

/** @param {string} text what the server has */
function showStale(text) {
  byId("stale-text").textContent = text;
  byId("stale").hidden = false;
  remember();
}

/** As it was left in this browser, as it was decided, or as most editors have it. */
function begin() {
  /** @type {Kept | null} */
  const before = read(kept);
  const { decision } = dispute;
  choose(before?.version === dispute.version ? before.choices : dispute.places.map(majority));
  area.value = toTextarea(merged());
  setOutcome("edited");
  followText();
  if (before) {
    area.value = before.text;
    setOutcome(before.outcome);
    reason.value = before.reason;
    if (before.version !== dispute.version) {
      showProblem("This is a text that you left here. Others have worked on the item since: compare before you decide.");
      if (decision) showStale(decision.edited ?? dispute.original);
    }
  } else if (decision) {
    area.value = toTextarea(decision.edited ?? dispute.original);
    setOutcome(decision.outcome);
    reason.value = decision.reason;
  } else if (dispute.voices.every((voice) => voice.outcome === "cannot_be_fixed")) setOutcome("cannot_be_fixed");
  byHand = area.value !== toTextarea(merged());
  show();
}

byId("places").addEventListener("change", chosenAnew);
area.addEventListener("input", () => {
  byHand = area.value !== toTextarea(merged());
  followText();
  show();
  remember();
});
form.addEventListener("change", () => {
  show();
  remember();
});
reason.addEventListener("input", remember);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  void decide();
});
byId("rebuild").addEventListener("click", () => {
  typeAll(area, toTextarea(merged()));
  byHand = false;
  followText();
  show();
  remember();
});
byId("reload").addEventListener("click", () => location.reload());
// A page that the browser brings back from its memory may decide again.
addEventListener("pageshow", (event) => {
  if (event.persisted) busy = false;
});

/** @param {string} editor */
function takeAllOf(editor) {
  if (!editor) return;
  choose(dispute.places.map((place) => place.alternatives.findIndex((one) => one.editors.includes(editor))));
  chosenAnew();
  announce(`All of editor ${editor} is taken.`);
}

for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-take]")))
  button.addEventListener("click", () => takeAllOf(button.dataset.take ?? ""));

let taken = -1;

/** All of one editor, and with the same key all of the next. */
function takeNext() {
  const buttons = /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-take]"));
  taken = (taken + 1) % buttons.length;
  takeAllOf(buttons[taken]?.dataset.take ?? "");
}

/**
 * To the next place, or to the one before.
 * @param {1 | -1} step
 */
function toPlace(step) {
  const { length } = dispute.places;
  if (!length) return;
  const places = [...document.querySelectorAll(".place")];
  const at = places.findIndex((place) => place.contains(document.activeElement));
  const to = at < 0 && step < 0 ? length - 1 : (at + step + length) % length;
  (radios(to).find((radio) => radio.checked) ?? radios(to)[0]).focus();
}

/** @param {string} value */
function chooseOutcome(value) {
  setOutcome(value);
  show();
  remember();
  announce(outcomeName(value));
}

bindDialogs();
bindKeys([
  { id: "save", label: "Decide", keys: ["Ctrl+Enter"], run: () => void decide() },
  { id: "edited", label: "Edited", keys: ["Alt+1"], run: () => chooseOutcome("edited") },
  { id: "no_edit_needed", label: "No edit needed", keys: ["Alt+2"], run: () => chooseOutcome("no_edit_needed") },
  { id: "cannot_be_fixed", label: "Cannot be fixed", keys: ["Alt+3"], run: () => chooseOutcome("cannot_be_fixed") },
  { id: "skipped", label: "Leave it, next", keys: ["Alt+4"], run: () => go(dispute.next_item_id) },
  { id: "reason", label: "To the reason", keys: ["Alt+R"], run: () => reason.focus() },
  { id: "text", label: "To the text", keys: ["Alt+T"], run: () => area.focus() },
  { id: "hunk-next", label: "Next place", keys: ["Alt+ArrowDown"], run: () => toPlace(1) },
  { id: "hunk-before", label: "Place before", keys: ["Alt+ArrowUp"], run: () => toPlace(-1) },
  { id: "take-all", label: "Take all of the first editor, then of the next", keys: ["Alt+A"], run: takeNext },
  ...sharedActions(),
]);
showSettled(dispute.item_id);
begin();
