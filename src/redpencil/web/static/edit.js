// @ts-check
/** The page for editing a response. */
import { Offline, ask, problemOf } from "./api.js";
import { announce, byId, percent } from "./dom.js";
import { DraftKeeper, choicesOf, fingerprint, forgetOwn, marksFor, recall, theirsOf } from "./draft.js";
import { Outcome, Tags } from "./outcome.js";
import { bindDialogs, bindKeys, offerGuidelines, sharedActions, showDone, showNotice, showProblem } from "./page.js";
import { Figures, Views, showMeter } from "./preview.js";
import { Suggestions } from "./suggestions.js";
import {
  Lease,
  addressOf,
  handIn,
  nextTask,
  rememberInAddress,
  showPage,
  showPrompt,
  showState,
  showTally,
  startClock,
} from "./task.js";
import { fromTextarea, toTextarea, typeAll } from "./text.js";
import { Versions, hasLoose, showClosed } from "./versions.js";
import { diffWords, distanceOf, drawRedline, joinLight, keptShare } from "./words.js";

/**
 * @typedef {import("./draft.js").Task} Task
 * @typedef {import("./draft.js").Choices} Choices
 */

/** Length up to which the text is compared at every change; a longer one is compared when typing pauses. */
const SHORT_TEXT = 8000;
const DRAWING_PAUSE_MS = 150;

const project = JSON.parse(byId("desk").dataset.project ?? "{}");
const area = /** @type {HTMLTextAreaElement} */ (byId("response"));
const saveButton = /** @type {HTMLButtonElement} */ (byId("save"));
const suggestions = new Suggestions(area);
const tags = new Tags(project.tags, () => keeper?.changed());
const outcome = new Outcome(project.reason_required_for, () => {
  showProblem("");
  keeper?.changed();
});
const views = new Views(exactText);
const figures = new Figures(({ kept, distance }) => showMeter(kept, distance, project, "server"));
const clock = startClock(0);
const lease = new Lease(project.lease_s, () => void keeper?.save({ always: true }), {
  over: "Nothing happened here for a while, so others can take this item now. Your text is kept.",
  taken: "Others have taken this item, so it may be too late to hand it in. Your text is saved under My work.",
});

const versions = new Versions({
  now: () => (keeper && task ? { task, keeper } : null),
  text: exactText,
  put: (text) => typeAll(area, toTextarea(text)),
  chosen: () => area.focus(),
  goOn,
  overtaken: (found) => {
    leave(found.draft);
    void showClosed(found).then(begin);
  },
});

/** @type {DraftKeeper | null} */
let keeper = null;
/** @type {Task | null} */
let task = null;
let original = "";
/** Id of the last submission. @type {number | null} */
let last = null;
let busy = false;
/** @type {number | undefined} */
let frame;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let drawing;

/** Return the text with its exact line ends. */
function exactText() {
  return fromTextarea(task?.response ?? "", area.value);
}

/**
 * Return the choices made beside the text. An outcome that merely follows the text is not among them.
 * @returns {Choices}
 */
function choices() {
  return {
    outcome: outcome.followsText ? "" : outcome.value,
    reason: outcome.reason.value,
    tags: tags.chosen,
  };
}

/**
 * Show a task, with unsaved changes that this browser has kept.
 * @param {Task} found
 */
function begin(found) {
  task = found;
  original = toTextarea(found.response);
  const kept = recall(found);
  const newer = kept !== null && kept.text !== found.draft;
  const own = kept !== null && (kept.version === found.version || kept.sent?.includes(fingerprint(found.draft)));
  const follows = newer && own;
  clock.restart(found.active_s);
  rememberInAddress(found);
  showPrompt(found);
  showProblem("");
  area.value = toTextarea(follows ? kept.text : found.draft);
  area.readOnly = false;
  const stored = choicesOf(found);
  const before = (own && kept.choices) || stored;
  outcome.begin(before.outcome, before.reason);
  tags.begin(before.tags);
  suggestions.begin(original, project.suggestions && found.suggestion !== null ? toTextarea(found.suggestion) : null);
  views.select(0);
  const holds = (/** @type {number} */ left) => lease.holds(left);
  keeper = new DraftKeeper(found, {
    ...{ text: exactText, choices, seconds: clock.seconds },
    ...{ show: showState, holds, conflict: (theirs) => versions.conflict(theirs), adopt },
    addReason: (reason) => outcome.addReason(reason),
  });
  lease.holds(found.lease_left_s);
  showState(found.draft !== found.response || stored.outcome || stored.reason ? "saved" : "");
  versions.begin();
  showPage("desk");
  draw();
  focusOnText();
  showNotice(follows ? "Newer changes that only this browser had kept are restored." : "");
  if (newer && !follows) versions.withKept(kept.text, found);
  else if (keeper.dirty) keeper.changed();
  offerGuidelines(project.guidelines);
  void showTally();
}

/** Move the focus to the beginning of the text and announce the task. */
function focusOnText() {
  area.focus({ preventScroll: true });
  area.setSelectionRange(0, 0);
  area.scrollTop = 0;
  scrollTo({ top: 0 });
  announce(`New response. Prompt: ${task?.prompt.slice(0, 200) ?? ""}`);
}

/** Compare the text with the original and show the result. */
function draw() {
  cancelAnimationFrame(frame ?? 0);
  clearTimeout(drawing);
  frame = drawing = undefined;
  const text = area.value;
  const blocks = diffWords(original, text);
  const shown = joinLight(original, text, blocks);
  drawRedline(byId("redline"), original, text, shown);
  byId("unchanged").hidden = text !== original;
  byId("restore").hidden = text === original;
  showMeter(keptShare(original, blocks), distanceOf(original, text, shown), project, "page");
  figures.follow(task?.response ?? "", text, exactText);
  outcome.follow(text !== original);
  suggestions.update(blocks);
  tags.update(original, text, shown);
  views.changed();
}

/** Save and show the text after a change. */
function typed() {
  outcome.typed();
  showProblem("");
  keeper?.changed();
  if (area.value.length <= SHORT_TEXT) frame ??= requestAnimationFrame(draw);
  else {
    clearTimeout(drawing);
    drawing = setTimeout(draw, DRAWING_PAUSE_MS);
  }
}

/**
 * Replace the page's content by a version from another tab.
 * @param {string} text
 * @param {Choices} choices
 */
function adopt(text, choices) {
  typeAll(area, toTextarea(text));
  outcome.begin(choices.outcome, choices.reason);
  tags.begin(choices.tags);
  draw();
  announce("The response was updated from another tab.");
}

/**
 * Leave this task and show the next one.
 * @param {string} notice
 * @param {boolean} [safe] whether nothing is lost if this browser's copy is removed
 */
async function goOn(notice, safe = true) {
  leave(safe ? (keeper?.stored ?? "") : null);
  rememberInAddress(null);
  await next();
  showNotice(notice);
}

/**
 * Stop working on this task.
 * @param {string | null} text the text on the server; null to keep this browser's copy
 */
function leave(text) {
  keeper?.close();
  lease.end();
  if (task && text !== null) forgetOwn(task, text);
  keeper = null;
}

/** Show the next task. */
async function next() {
  const found = await nextTask(showClosed);
  task = found;
  if (!found) {
    rememberInAddress(null);
    showPage("empty");
  } else if (found.kind !== "edit") location.replace(addressOf(found));
  else begin(found);
}

/** Explain why the task cannot be handed in, or return null. The server checks the limits. */
function objection() {
  const loose = "A text that was set aside is only on this page. Copy or discard it first.";
  return hasLoose() ? { sentence: loose, field: "aside" } : outcome.objection(area.value !== original);
}

/**
 * Show why the task cannot be handed in, and move the focus to the cause.
 * @param {string} why
 * @param {string | null | undefined} field
 */
function refuse(why, field) {
  showProblem(why);
  if (field === "reason") outcome.reason.focus();
  else if (field === "outcome") outcome.focus();
  else if (field === "aside") /** @type {HTMLElement | null} */ (document.querySelector("#aside .loose button"))?.focus();
  else area.focus({ preventScroll: true });
}

/** Hand the task in and show the next one. */
async function submit() {
  if (busy || !keeper || !task) return;
  if (keeper.conflicted) {
    versions.open();
    return;
  }
  draw();
  const problem = objection();
  if (problem) {
    refuse(problem.sentence, problem.field);
    return;
  }
  setBusy(true);
  try {
    await handOver(keeper);
  } finally {
    setBusy(false);
  }
}

/**
 * Block the page while a request runs.
 * @param {boolean} on
 */
function setBusy(on) {
  busy = on;
  area.readOnly = on;
  saveButton.setAttribute("aria-disabled", String(on));
}

/**
 * Send the task and handle the answer.
 * @param {DraftKeeper} of
 */
async function handOver(of) {
  clearTimeout(of.timer);
  while (of.running) await of.running;
  if (of.conflicted) return;
  of.keepHere();
  const text = exactText();
  const decision = marksFor(of.task.response, { ...choices(), outcome: outcome.value });
  try {
    const answer = await handIn(of, decision);
    if (answer.ok) {
      last = answer.data.submission_id;
      const kept = decision.outcome === "edited" ? ` ${percent(answer.data.kept)} of the words kept.` : "";
      leave(text);
      rememberInAddress(null);
      showDone(`Handed in.${kept}`);
      await next();
    } else if (answer.status === 409) await of.behind(theirsOf(answer.data), false);
    else refuse(problemOf(answer), answer.data?.field);
  } catch (error) {
    if (!(error instanceof Offline)) throw error;
    showProblem("Not handed in: the server does not answer. Your text is kept in this browser; try again in a moment.");
    of.retry(false);
  }
}

/** Take the last submission back. */
async function undo() {
  if (last === null || busy) return;
  setBusy(true);
  try {
    if (keeper && keeper.dirty && !(await keeper.save())) {
      showProblem("Save this response first: it is not on the server yet.");
      return;
    }
    const answer = await ask("POST", `/api/submissions/${last}/undo`);
    if (!answer.ok) {
      showProblem(problemOf(answer));
      return;
    }
    keeper?.close();
    last = null;
    showDone(null);
    begin(answer.data);
    announce("Taken back. You can continue with the response.");
  } catch (error) {
    if (!(error instanceof Offline)) throw error;
    showProblem("Not taken back: the server does not answer. Try again in a moment.");
  } finally {
    setBusy(false);
  }
}

/**
 * Choose an outcome with a key.
 * @param {string} value
 */
function choose(value) {
  outcome.choose(value);
  showProblem("");
  keeper?.changed();
  announce(document.querySelector(`input[value="${value}"]`)?.parentElement?.querySelector("b")?.textContent ?? "");
}

/** Put the original into the editor. */
function restore() {
  typeAll(area, original);
  announce("This is the original again. Ctrl+Z brings your text back.");
}

/** Connect the page's elements and keys. */
function bind() {
  area.addEventListener("input", typed);
  saveButton.addEventListener("click", () => void submit());
  byId("done-undo").addEventListener("click", () => void undo());
  byId("done-close").addEventListener("click", () => showDone(null));
  byId("notice-close").addEventListener("click", () => showNotice(""));
  byId("conflict-open").addEventListener("click", () => versions.open());
  byId("restore").addEventListener("click", restore);
  addEventListener("pagehide", () => keeper?.flush());
  addEventListener("beforeunload", (event) => {
    if (keeper?.onlyHere() || hasLoose()) event.preventDefault();
  });
  addEventListener("online", () => void keeper?.save());
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) keeper?.flush();
    else void keeper?.refresh();
  });
  bindDialogs();
  bindKeys([
    { id: "save", label: "Save and next", keys: ["Ctrl+Enter"], run: () => void submit() },
    { id: "edited", label: "Edited", keys: ["Alt+1"], run: () => choose("edited") },
    { id: "no_edit_needed", label: "No edit needed", keys: ["Alt+2"], run: () => choose("no_edit_needed") },
    { id: "cannot_be_fixed", label: "Cannot be fixed", keys: ["Alt+3"], run: () => choose("cannot_be_fixed") },
    { id: "skipped", label: "Skip", keys: ["Alt+4"], run: () => choose("skipped") },
    { id: "reason", label: "To the reason", keys: ["Alt+R"], run: () => outcome.reason.focus() },
    { id: "text", label: "To the text", keys: ["Alt+T"], run: () => area.focus() },
    { id: "take", label: "Take the suggested change", keys: ["Alt+Enter"], run: () => suggestions.decide("take") },
    { id: "leave", label: "Leave the suggested change", keys: ["Alt+L"], run: () => suggestions.decide("leave") },
    { id: "take-all", label: "Take all suggested changes", keys: ["Alt+A"], run: () => suggestions.takeAll() },
    { id: "hunk-next", label: "Next suggested change", keys: ["Alt+ArrowDown"], run: () => suggestions.go(1) },
    { id: "hunk-before", label: "Previous suggested change", keys: ["Alt+ArrowUp"], run: () => suggestions.go(-1) },
    { id: "tags", label: "Say why, change by change", keys: ["Alt+W"], run: () => tags.focusNext() },
    { id: "restore", label: "Back to the original", keys: ["Alt+O"], run: () => restore() },
    { id: "preview", label: "Redline or preview", keys: ["Alt+P"], run: () => views.toggle() },
    { id: "undo", label: "Take the last one back", keys: ["Alt+U"], run: () => void undo() },
    ...sharedActions(),
  ]);
}

bind();
void next();
