// @ts-check
/**
 * The page for settling a dispute. The reviewer chooses an alternative at each place where the editors differ, and can
 * change the resulting text by hand.
 */
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

/**
 * Return the radio buttons of a place.
 * @param {number} place
 * @returns {HTMLInputElement[]}
 */
function radios(place) {
  return [.../** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll(`input[name="place-${place}"]`))];
}

/** Return the chosen alternative of each place; null where none is chosen. */
function choices() {
  return dispute.places.map((_, i) => {
    const chosen = radios(i).findIndex((radio) => radio.checked);
    return chosen < 0 ? null : chosen;
  });
}

/** Return the text that the choices give; places without a choice keep the original. */
function merged() {
  const chosen = choices();
  const parts = dispute.places.map((place, i) => place.before + place.alternatives[chosen[i] ?? 0].text);
  return parts.join("") + dispute.after;
}

/** Return the text on the page, with the original's line ends. */
function exactText() {
  return !byHand && area.value === toTextarea(merged()) ? merged() : fromTextarea(dispute.original, area.value);
}

/**
 * Return the alternative that most editors have at a place, or null.
 * @param {Place} place
 */
function majority(place) {
  const found = place.alternatives.findIndex((alternative) => 2 * alternative.editors.length > speakers);
  return found < 0 ? null : found;
}

/**
 * Choose an alternative at each place.
 * @param {(number | null)[]} chosen
 */
function choose(chosen) {
  chosen.forEach((alternative, i) => {
    radios(i).forEach((radio, n) => {
      radio.checked = n === alternative;
    });
  });
}

/** Update the page after a choice. A text that was changed by hand stays as it is. */
function choiceChanged() {
  if (!byHand) {
    area.value = toTextarea(merged());
    followText();
  }
  show();
  remember();
}

/** Choose the outcome that fits the text, unless it is "cannot be fixed". */
function followText() {
  if (outcome() !== "cannot_be_fixed") setOutcome(exactText() === dispute.original ? "no_edit_needed" : "edited");
}

function outcome() {
  return String(new FormData(form).get("outcome") ?? "");
}

/**
 * Return the name of an outcome as the page shows it.
 * @param {string} value
 */
function outcomeName(value) {
  return form.querySelector(`input[value="${value}"]`)?.parentElement?.querySelector("b")?.textContent ?? "";
}

/** @param {string} value */
function setOutcome(value) {
  const radio = form.querySelector(`input[name="outcome"][value="${value}"]`);
  if (radio instanceof HTMLInputElement) radio.checked = true;
}

/** Show the current choices, outcome and redline. */
function show() {
  cancelAnimationFrame(drawing ?? 0);
  drawing = requestAnimationFrame(draw);
  const open = choices().filter((chosen) => chosen === null).length;
  document.querySelectorAll(".place").forEach((place, i) => place.classList.toggle("undecided", choices()[i] === null));
  byId("undecided").textContent = !dispute.places.length
    ? "The texts are the same: only the outcome is to be decided."
    : open
      ? `${counted(open, "place")} of ${dispute.places.length} ${open === 1 ? "is" : "are"} still open, shown with a frame; there the text stays as it was.`
      : "All places are decided.";
  byId("by-hand").hidden = !byHand;
  warnOfOpen(open);
}

/**
 * Show next to the places, where the keyboard focus is, how many are open and what deciding would now do.
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
    `${counted(open, "place")} ${open === 1 ? "is" : "are"} still open. Deciding again keeps the original there: ` +
    `${outcomeName(outcome())}${against ? `, though ${everybody} changed it` : ""}.`;
  if (alert.textContent !== text) alert.textContent = text;
}

/** Draw the redline and the figures of the text. */
function draw() {
  const [original, text] = [toTextarea(dispute.original), area.value];
  const blocks = diffWords(original, text);
  drawRedline(byId("redline"), original, text, blocks);
  const distance = distanceOf(original, text, joinLight(original, text, blocks));
  byId("measure").textContent = `${percent(keptShare(original, blocks))} of the words kept, ${counted(distance, "character")} changed`;
}

/** Store the state of the page in this browser. */
function remember() {
  write(kept, { version: dispute.version, text: area.value, choices: choices(), outcome: outcome(), reason: reason.value });
}

/** Return the submissions from which the text takes an alternative other than the original. */
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

/** Return the first place without a choice, or null. It is only pointed out once; after that it may stay open. */
function openPlace() {
  const open = choices().indexOf(null);
  if (open < 0 || byHand || warned) return null;
  warned = true;
  return radios(open)[0];
}

/** Send the decision and go to the next dispute. */
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
    // While the next page loads, this one must not send a second decision.
    busy = leaving;
  }
}

/**
 * Go to a dispute, or to the list.
 * @param {number | null} item
 */
function go(item) {
  location.href = item === null ? "/disputes" : `/disputes/${item}`;
}

/**
 * Show the decision that the server has, next to this page's own.
 * @param {string} text
 */
function showStale(text) {
  byId("stale-text").textContent = text;
  byId("stale").hidden = false;
  remember();
}

/** Start with the state stored in this browser, else with the decision, else with what most editors have. */
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
      showProblem("You left this text here earlier. Others have worked on the item since: compare before you decide.");
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

byId("places").addEventListener("change", choiceChanged);
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
// A page that the browser restores from its back/forward cache may decide again.
addEventListener("pageshow", (event) => {
  if (event.persisted) busy = false;
});

/**
 * Choose an editor's alternative at every place.
 * @param {string} editor
 */
function takeAllOf(editor) {
  if (!editor) return;
  choose(dispute.places.map((place) => place.alternatives.findIndex((one) => one.editors.includes(editor))));
  choiceChanged();
  announce(`All changes of editor ${editor} are taken.`);
}

for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-take]")))
  button.addEventListener("click", () => takeAllOf(button.dataset.take ?? ""));

let taken = -1;

/** Take all of the first editor; when called again, all of the next. */
function takeNext() {
  const buttons = /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-take]"));
  taken = (taken + 1) % buttons.length;
  takeAllOf(buttons[taken]?.dataset.take ?? "");
}

/**
 * Move the focus to the next or previous place.
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

/**
 * Choose an outcome with a key.
 * @param {string} value
 */
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
  { id: "hunk-before", label: "Previous place", keys: ["Alt+ArrowUp"], run: () => toPlace(-1) },
  { id: "take-all", label: "Take all of the first editor, then of the next", keys: ["Alt+A"], run: takeNext },
  ...sharedActions(),
]);
showSettled(dispute.item_id);
begin();
