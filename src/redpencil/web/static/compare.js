// @ts-check
/** The page for comparing two responses. It does not know which model wrote which. */
import { Offline, ask, problemOf, sentence } from "./api.js";
import { announce, byId } from "./dom.js";
import { DraftKeeper, choicesOf, forgetOwn, recall, theirsOf } from "./draft.js";
import { bindDialogs, bindKeys, offerGuidelines, sharedActions, showDone, showNotice, showProblem } from "./page.js";
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

/**
 * @typedef {import("./draft.js").Task} Task
 * @typedef {import("./draft.js").Theirs} Theirs
 * @typedef {import("./draft.js").Choices} Choices
 */

const NAMES = { first: "A is better", tie: "Tie", second: "B is better", skipped: "Skip" };

const project = JSON.parse(byId("desk").dataset.project ?? "{}");
const reason = /** @type {HTMLTextAreaElement} */ (byId("reason"));
const radios = [.../** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll('input[name="outcome"]'))];
const clock = startClock(0);
const lease = new Lease(project.lease_s, () => void keeper?.save({ always: true }), {
  over: "Nothing happened here for a while, so others can take this comparison now.",
  taken: "Others have taken this comparison, so it may be too late to hand it in.",
});

/** @type {Task | null} */
let task = null;
/** Saves the choices; the draft of a comparison has an empty text. @type {DraftKeeper | null} */
let keeper = null;
/** Id of the last submission. @type {number | null} */
let last = null;
let busy = false;

/** Return the chosen preference, or "". */
function chosen() {
  return radios.find((radio) => radio.checked)?.value ?? "";
}

/**
 * Choose a preference and show whether it needs a reason.
 * @param {string} value
 */
function choose(value) {
  for (const radio of radios) radio.checked = radio.value === value;
  const needed = project.reason_required_for.includes(value);
  reason.required = needed;
  byId("reason-need").textContent = needed ? "needed for this choice" : "optional";
}

/** @returns {Choices} */
function choices() {
  return { outcome: chosen(), reason: reason.value, tags: {} };
}

/**
 * Replace the page's choices.
 * @param {string} _text
 * @param {Choices} from
 */
function adopt(_text, from) {
  choose(from.outcome);
  reason.value = from.reason;
}

/**
 * Add a reason given in another tab below the one on this page.
 * @param {string} other
 */
function addReason(other) {
  if (!reason.value.includes(other)) reason.value = other.includes(reason.value) ? other : `${reason.value}\n${other}`;
}

/**
 * Show a task, with unsaved choices that this browser has kept.
 * @param {Task} found
 */
function begin(found) {
  task = found;
  const kept = recall(found);
  const stored = choicesOf(found);
  clock.restart(found.active_s);
  lease.holds(found.lease_left_s);
  rememberInAddress(found);
  showPrompt(found);
  showProblem("");
  byId("first").textContent = found.response;
  byId("second").textContent = found.second ?? "";
  adopt("", kept?.version === found.version ? kept.choices : stored);
  keeper = new DraftKeeper(found, {
    ...{ text: () => "", choices, seconds: clock.seconds, show: showState, adopt, addReason },
    ...{ holds: (left) => lease.holds(left), conflict: (theirs) => void goOn(theirs) },
  });
  showState(stored.outcome || stored.reason ? "saved" : "");
  if (keeper.dirty) keeper.changed();
  for (const name of ["first", "second"]) byId(name).scrollTop = 0;
  showPage("desk");
  scrollTo({ top: 0 });
  byId("h-prompt").focus({ preventScroll: true });
  announce(`New comparison. Prompt: ${found.prompt.slice(0, 200)}`);
  offerGuidelines(project.guidelines);
  void showTally();
}

/**
 * Show the next comparison, because this one was handed in, given back or taken by others.
 * @param {Theirs} theirs
 */
async function goOn(theirs) {
  leave();
  rememberInAddress(null);
  await next();
  const away = "Others have this comparison now, so your choice was not handed in.";
  showNotice(theirs.reason === "taken" ? away : sentence(theirs.problem) || "It was handed in or given back in another tab.");
}

/** Stop working on this comparison. */
function leave() {
  keeper?.close();
  if (task) forgetOwn(task, "");
  keeper = null;
}

/** Show the next task. */
async function next() {
  lease.end();
  const found = await nextTask();
  task = null;
  if (!found) {
    rememberInAddress(null);
    showPage("empty");
  } else if (found.kind !== "compare") location.replace(addressOf(found));
  else begin(found);
}

/** Explain why the comparison cannot be handed in and where to fix it; null if it can. */
function objection() {
  if (!chosen()) return { why: "Choose A, B or tie first.", at: radios[0] };
  if (reason.required && !reason.value.trim()) return { why: "Please give a reason for this choice.", at: reason };
  return null;
}

/** Hand the preference in and show the next task. */
async function submit() {
  if (busy || !keeper) return;
  const problem = objection();
  if (problem) {
    showProblem(problem.why);
    problem.at.focus();
    return;
  }
  busy = true;
  try {
    await handOver(keeper, chosen());
  } catch (error) {
    if (!(error instanceof Offline)) throw error;
    showProblem("Not handed in: the server does not answer. Your choice is kept in this browser; try again.");
    keeper?.retry(false);
  } finally {
    busy = false;
  }
}

/**
 * Send the preference and handle the answer.
 * @param {DraftKeeper} of
 * @param {string} value
 */
async function handOver(of, value) {
  clearTimeout(of.timer);
  while (of.running) await of.running;
  if (of.conflicted || of.closed) return;
  of.keepHere();
  const decision = value === "skipped" ? { outcome: value } : { preference: value };
  const answer = await handIn(of, { ...decision, reason: reason.value });
  if (answer.ok) {
    last = answer.data.submission_id;
    leave();
    rememberInAddress(null);
    showDone(`Handed in: ${NAMES[/** @type {keyof typeof NAMES} */ (value)]}.`);
    await next();
  } else if (answer.status === 409) await of.behind(theirsOf(answer.data), false);
  else showProblem(problemOf(answer));
}

/** Take the last submission back. */
async function undo() {
  if (last === null || busy) return;
  busy = true;
  try {
    if (keeper && keeper.dirty && !(await keeper.save())) {
      showProblem("Save this comparison first: it is not on the server yet.");
      return;
    }
    const answer = await ask("POST", `/api/submissions/${last}/undo`);
    if (answer.ok && answer.data.kind === "compare") {
      keeper?.close();
      last = null;
      showDone(null);
      begin(answer.data);
    } else if (answer.ok) location.assign(addressOf(answer.data));
    else showProblem(problemOf(answer));
  } catch (error) {
    if (!(error instanceof Offline)) throw error;
    showProblem("Not taken back: the server does not answer. Try again in a moment.");
  } finally {
    busy = false;
  }
}

/**
 * Choose a preference for the person, with a key or a click.
 * @param {string} value
 */
function choiceByKey(value) {
  choose(value);
  showProblem("");
  keeper?.changed();
  announce(NAMES[/** @type {keyof typeof NAMES} */ (value)]);
}

for (const radio of radios) radio.addEventListener("change", () => choiceByKey(radio.value));
reason.addEventListener("input", () => keeper?.changed());
byId("save").addEventListener("click", () => void submit());
byId("done-undo").addEventListener("click", () => void undo());
byId("done-close").addEventListener("click", () => showDone(null));
byId("notice-close").addEventListener("click", () => showNotice(""));
addEventListener("pagehide", () => keeper?.flush());
addEventListener("online", () => void keeper?.save());
addEventListener("beforeunload", (event) => {
  if (keeper?.onlyHere()) event.preventDefault();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) keeper?.flush();
  else void keeper?.refresh();
});
bindDialogs();
bindKeys([
  { id: "save", label: "Save and next", keys: ["Ctrl+Enter"], run: () => void submit() },
  { id: "first", label: "A is better", keys: ["Alt+1"], run: () => choiceByKey("first") },
  { id: "tie", label: "Tie", keys: ["Alt+2"], run: () => choiceByKey("tie") },
  { id: "second", label: "B is better", keys: ["Alt+3"], run: () => choiceByKey("second") },
  { id: "skipped", label: "Skip", keys: ["Alt+4"], run: () => choiceByKey("skipped") },
  { id: "reason", label: "To the reason", keys: ["Alt+R"], run: () => reason.focus() },
  { id: "undo", label: "Take the last one back", keys: ["Alt+U"], run: () => void undo() },
  ...sharedActions(),
]);
void next();
