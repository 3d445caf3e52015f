// @ts-check
/** The page on which a response is edited. */
import { Offline, ask, problemOf, sentence } from "./api.js";
import { startClock } from "./clock.js";
import { openConflict } from "./conflict.js";
import { announce, byId, percent } from "./dom.js";
import { DraftKeeper, theirsOf } from "./drafts.js";
import { Figures } from "./figures.js";
import { fingerprint, forget, recall } from "./kept.js";
import { bindKeys } from "./keys.js";
import { showMeter } from "./meter.js";
import { exactPlaces, fromTextarea, toTextarea } from "./newlines.js";
import { Outcome } from "./outcome.js";
import { bindDialogs, sharedActions } from "./page.js";
import { Views } from "./preview.js";
import { drawRedline } from "./redline.js";
import { putAside, showAside } from "./shelf.js";
import { showNotice, showProblem, showState } from "./status.js";
import { Suggestions } from "./suggestions.js";
import { Tags } from "./tags.js";
import { nextTask, rememberInAddress, showDone, showPage, showPrompt } from "./tasks.js";
import { typeAll } from "./typing.js";
import { diffWords, distanceOf, joinLight, keptShare } from "./words.js";

/**
 * @typedef {import("./drafts.js").Task} Task
 * @typedef {import("./drafts.js").Theirs} Theirs
 * @typedef {import("./kept.js").Choices} Choices
 */

/** Texts up to this length are compared with every key, longer ones when the typing pauses. */
const SHORT_TEXT = 8000;
const DRAWING_PAUSE_MS = 150;

const project = JSON.parse(byId("desk").dataset.project ?? "{}");
const area = /** @type {HTMLTextAreaElement} */ (byId("response"));
const saveButton = /** @type {HTMLButtonElement} */ (byId("save"));
const suggestions = new Suggestions(area);
const tags = new Tags(project.tags, () => keeper?.keepHere());
const outcome = new Outcome(project.reason_required_for, () => {
  showProblem("");
  keeper?.keepHere();
});
const views = new Views(exactText);
const figures = new Figures(({ kept, distance }) => showMeter(kept, distance, project, "server"));
const clock = startClock(0);

/** @type {DraftKeeper | null} */
let keeper = null;
/** @type {Task | null} */
let task = null;
let original = "";
/** @type {{id: number, choices: Choices} | null} */
let last = null;
/** @type {Theirs | null} */
let theirs = null;
let busy = false;
/** @type {number | undefined} */
let frame;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let drawing;

/** The text with its exact line ends. */
function exactText() {
  return fromTextarea(task?.response ?? "", area.value);
}

/** @returns {Choices} */
function choices() {
  return {
    outcome: outcome.followsText ? "" : outcome.value,
    reason: outcome.reason.value,
    tags: tags.chosen,
  };
}

/**
 * Show a task, with what this browser kept of it.
 * @param {Task} found
 * @param {Choices | null} [chosen]
 */
function begin(found, chosen = null) {
  task = found;
  theirs = null;
  original = toTextarea(found.response);
  const kept = recall(found);
  const newer = kept !== null && kept.text !== found.draft;
  const follows = newer && (kept.version === found.version || kept.sent?.includes(fingerprint(found.draft)));
  clock.restart(found.active_s);
  rememberInAddress(found);
  showPrompt(found);
  showProblem("");
  area.value = toTextarea(follows ? kept.text : found.draft);
  area.readOnly = false;
  const before = chosen ?? kept?.choices ?? { outcome: "", reason: "", tags: {} };
  outcome.begin(before.outcome, before.reason);
  tags.begin(before.tags);
  suggestions.begin(original, project.suggestions && found.suggestion !== null ? toTextarea(found.suggestion) : null);
  views.select(0);
  const desk = { text: exactText, choices, seconds: clock.seconds, show: showState, conflict, adopt };
  keeper = new DraftKeeper(found, desk);
  showState(found.draft !== found.response ? "saved" : "");
  showAsideTexts();
  showPage("desk");
  draw();
  focusOnText();
  showNotice(follows ? "This browser kept newer changes than the server: they are back." : "");
  if (follows) keeper.changed();
  else if (newer) conflictWithKept(kept.text, found);
}

function focusOnText() {
  area.focus({ preventScroll: true });
  area.setSelectionRange(0, 0);
  area.scrollTop = 0;
  scrollTo({ top: 0 });
  announce(`New response. Prompt: ${task?.prompt.slice(0, 200) ?? ""}`);
}

/** Compare the text with the original and show what came of it. */
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

/** @param {string} text */
function adopt(text) {
  typeAll(area, toTextarea(text));
  announce("The text was brought up to date from another tab.");
}

/** @param {Theirs} found */
function conflict(found) {
  // A text that somebody else's work has overtaken is always shown: it will not come up again by itself.
  if (["done", "released"].includes(found.reason) && found.text === exactText()) {
    void goOn(sentence(found.problem) || "This response was handed in or given back in another tab.");
    return;
  }
  theirs = found;
  showConflict();
}

function showConflict() {
  if (!theirs || !keeper) return;
  const found = theirs;
  const open = found.reason === "changed" || found.reason === "";
  const what = { mine: exactText(), theirs: found.text, problem: found.problem, canKeepMine: open };
  openConflict(what, (choice) => {
    if (!keeper || !task) return;
    theirs = null;
    putAside(task, choice === "mine" ? found.text : what.mine);
    showAsideTexts();
    if (!open) {
      void goOn("");
      return;
    }
    if (choice === "theirs") typeAll(area, toTextarea(found.text));
    keeper.resume(found.text, found.version);
    area.focus();
  });
}

/**
 * This browser kept a text from before a crash, but the server has moved on since.
 * @param {string} text
 * @param {Task} found
 */
function conflictWithKept(text, found) {
  if (!keeper) return;
  typeAll(area, toTextarea(text));
  keeper.conflicted = true;
  showState("conflict");
  conflict({
    text: found.draft,
    version: found.version,
    reason: "changed",
    problem: "This browser kept a text, and the server has a newer one from another tab or browser.",
  });
}

function showAsideTexts() {
  if (!task) return;
  showAside(task, (text) => {
    typeAll(area, toTextarea(text));
    area.focus();
  });
}

/**
 * Leave this task for the next one.
 * @param {string} notice
 */
async function goOn(notice) {
  keeper?.close();
  if (task) forget(task);
  keeper = null;
  rememberInAddress(null);
  await next();
  showNotice(notice);
}

async function next() {
  const found = await nextTask();
  task = found;
  if (!found) {
    rememberInAddress(null);
    showPage("empty");
  } else if (found.kind !== "edit") location.replace(`/?assignment=${found.assignment_id}`);
  else begin(found);
}

/** What stands against handing in, as far as the page can tell; the limits are the server's to judge. */
function objection() {
  return outcome.objection(area.value !== original);
}

/**
 * @param {string} why
 * @param {string | null | undefined} field
 */
function refuse(why, field) {
  showProblem(why);
  if (field === "reason") outcome.reason.focus();
  else if (field === "outcome") outcome.focus();
  else area.focus({ preventScroll: true });
}

/** Hand the task in and go on. */
async function submit() {
  if (busy || !keeper || !task) return;
  if (keeper.conflicted) {
    showConflict();
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
    await handIn(keeper, task);
  } finally {
    setBusy(false);
  }
}

/** @param {boolean} on */
function setBusy(on) {
  busy = on;
  area.readOnly = on;
  saveButton.setAttribute("aria-disabled", String(on));
}

/**
 * @param {DraftKeeper} of
 * @param {Task} what
 */
async function handIn(of, what) {
  clearTimeout(of.timer);
  while (of.running) await of.running;
  if (of.conflicted) return;
  of.keepHere();
  const text = exactText();
  const chosen = { ...choices(), outcome: outcome.value };
  const exact = exactPlaces(what.response);
  const marks = tags.toSend().map(({ start, end, tag }) => ({ start: exact(start), end: exact(end), tag }));
  const decision = { text, outcome: chosen.outcome, reason: chosen.reason, tags: marks };
  const body = () => ({ version: of.version, ...decision, active_s: clock.seconds() });
  try {
    let answer = await ask("POST", of.path("submit"), body());
    if (answer.status === 409) {
      const found = theirsOf(answer.data);
      if (found.reason === "changed" && (found.text === text || of.mayHaveSent(found.text))) {
        of.version = found.version;
        answer = await ask("POST", of.path("submit"), body());
      }
    }
    if (answer.ok) {
      last = { id: answer.data.submission_id, choices: chosen };
      const kept = chosen.outcome === "edited" ? ` ${percent(answer.data.kept)} of the words kept.` : "";
      of.close();
      forget(what);
      rememberInAddress(null);
      showDone(`Handed in.${kept}`);
      await next();
    } else if (answer.status === 409) of.behind(theirsOf(answer.data), false);
    else refuse(problemOf(answer), answer.data?.field);
  } catch (error) {
    if (!(error instanceof Offline)) throw error;
    showProblem("Not handed in: the server does not answer. Your text is kept in this browser; try again in a moment.");
    of.retry(false);
  }
}

/** Take the last hand-in back. */
async function undo() {
  if (!last || busy) return;
  const { id, choices: chosen } = last;
  setBusy(true);
  try {
    if (keeper && keeper.dirty && !(await keeper.save())) {
      showProblem("Save this response first: it is not on the server yet.");
      return;
    }
    const answer = await ask("POST", `/api/submissions/${id}/undo`);
    if (!answer.ok) {
      showProblem(problemOf(answer));
      return;
    }
    keeper?.close();
    last = null;
    showDone(null);
    begin(answer.data, chosen);
    announce("Taken back. You can go on with the response.");
  } catch (error) {
    if (!(error instanceof Offline)) throw error;
    showProblem("Not taken back: the server does not answer. Try again in a moment.");
  } finally {
    setBusy(false);
  }
}

/** @param {string} value */
function choose(value) {
  outcome.choose(value);
  showProblem("");
  keeper?.keepHere();
  announce(document.querySelector(`input[value="${value}"]`)?.parentElement?.querySelector("b")?.textContent ?? "");
}

function bind() {
  area.addEventListener("input", typed);
  saveButton.addEventListener("click", () => void submit());
  byId("done-undo").addEventListener("click", () => void undo());
  byId("done-close").addEventListener("click", () => showDone(null));
  byId("notice-close").addEventListener("click", () => showNotice(""));
  byId("conflict-open").addEventListener("click", showConflict);
  byId("restore").addEventListener("click", () => typeAll(area, original));
  addEventListener("pagehide", () => keeper?.flush());
  addEventListener("online", () => void keeper?.save());
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) keeper?.flush();
    else void keeper?.refresh();
  });
  setInterval(() => document.hidden || void keeper?.save({ always: true }), (project.lease_s * 1000) / 3);
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
    { id: "hunk-next", label: "Next suggested change", keys: ["Alt+ArrowDown"], run: () => suggestions.go(1) },
    { id: "hunk-before", label: "Suggested change before", keys: ["Alt+ArrowUp"], run: () => suggestions.go(-1) },
    { id: "preview", label: "Redline or preview", keys: ["Alt+P"], run: () => views.toggle() },
    { id: "undo", label: "Take the last one back", keys: ["Alt+U"], run: () => void undo() },
    ...sharedActions(),
  ]);
}

bind();
void next();
