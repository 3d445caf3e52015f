// @ts-check
/** Settling a dispute: alternatives are chosen place by place, and the text that comes out can be changed by hand. */
import { Offline, ask, problemOf } from "./api.js";
import { announce, byId, counted, percent } from "./dom.js";
import { read, write } from "./kept.js";
import { fromTextarea, toTextarea } from "./newlines.js";
import { drawRedline } from "./redline.js";
import { typeAll } from "./typing.js";
import { diffWords, distanceOf, joinLight, keptShare } from "./words.js";

/**
 * @typedef {{text: string, editors: number[], original: boolean}} Alternative
 * @typedef {{before: string, alternatives: Alternative[]}} Place
 * @typedef {{editor: number, submission_id: number, outcome: string, edited: string | null}} Voice
 * @typedef {{item_id: number, original: string, version: number, voices: Voice[], places: Place[], after: string,
 *   decision: {outcome: string, edited: string | null, reason: string} | null, next_item_id: number | null}} Dispute
 * @typedef {{version: number, text: string, choices: (number | null)[], outcome: string, reason: string}} Kept
 */

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
  return dispute.voices.filter((voice) => editors.has(voice.editor)).map((voice) => voice.submission_id);
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
    showProblem("Not all places are decided. Choose there, or decide once more to leave them as they were.");
    open.focus();
    return;
  }
  busy = true;
  showProblem("");
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
      const next = answer.data.next_item_id;
      location.href = next === null ? "/disputes" : `/disputes/${next}`;
      return;
    }
    showProblem(problemOf(answer));
    if (answer.status === 409) showStale(answer.data.text);
  } catch (error) {
    if (!(error instanceof Offline)) throw error;
    showProblem("The server does not answer. Your text is kept in this browser; try again.");
  } finally {
    busy = false;
  }
}

/** @param {string} problem */
function showProblem(problem) {
  byId("problem").textContent = problem;
  byId("problem").hidden = !problem;
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
form.addEventListener("change", remember);
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
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
  event.preventDefault();
  void decide();
});
for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-take]")))
  button.addEventListener("click", () => {
    const editor = Number(button.dataset.take);
    choose(dispute.places.map((place) => place.alternatives.findIndex((one) => one.editors.includes(editor))));
    chosenAnew();
    announce(`All of editor ${editor} is taken.`);
  });

begin();
