// @ts-check
/** The page on which two responses are compared. Nobody is told which model wrote which. */
import { Offline, ask, problemOf } from "./api.js";
import { startClock } from "./clock.js";
import { announce, byId } from "./dom.js";
import { forget, keep, recall } from "./kept.js";
import { bindKeys } from "./keys.js";
import { bindDialogs, sharedActions } from "./page.js";
import { showNotice, showProblem } from "./status.js";
import { nextTask, rememberInAddress, showDone, showPage, showPrompt } from "./tasks.js";

/** @typedef {import("./drafts.js").Task} Task */

const NAMES = { first: "A is better", tie: "Tie", second: "B is better", skipped: "Skip" };

const project = JSON.parse(byId("desk").dataset.project ?? "{}");
const reason = /** @type {HTMLTextAreaElement} */ (byId("reason"));
const radios = [.../** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll('input[name="outcome"]'))];
const clock = startClock(0);

/** @type {Task | null} */
let task = null;
/** @type {{id: number, preference: string, reason: string} | null} */
let last = null;
let busy = false;

/** What is chosen, "" where nothing is. */
function chosen() {
  return radios.find((radio) => radio.checked)?.value ?? "";
}

/** @param {string} value */
function choose(value) {
  for (const radio of radios) radio.checked = radio.value === value;
  const needed = project.reason_required_for.includes(value);
  reason.required = needed;
  byId("reason-need").textContent = needed ? "needed for this choice" : "optional";
}

/** Keep the choice in this browser, until it is handed in. */
function keepHere() {
  if (!task) return;
  const choices = { outcome: chosen(), reason: reason.value, tags: {} };
  keep(task, { text: "", version: task.version, sent: [], choices });
}

/**
 * @param {Task} found
 * @param {{preference: string, reason: string} | null} [before]
 */
function begin(found, before = null) {
  task = found;
  const kept = recall(found)?.choices;
  clock.restart(found.active_s);
  rememberInAddress(found);
  showPrompt(found);
  showProblem("");
  byId("first").textContent = found.response;
  byId("second").textContent = found.second ?? "";
  reason.value = before?.reason ?? kept?.reason ?? "";
  choose(before?.preference ?? kept?.outcome ?? "");
  for (const name of ["first", "second"]) byId(name).scrollTop = 0;
  showPage("desk");
  scrollTo({ top: 0 });
  byId("first").focus({ preventScroll: true });
  announce(`New comparison. Prompt: ${found.prompt.slice(0, 200)}`);
}

async function next() {
  const found = await nextTask();
  task = null;
  if (!found) {
    rememberInAddress(null);
    showPage("empty");
  } else if (found.kind !== "compare") location.replace(`/?assignment=${found.assignment_id}`);
  else begin(found);
}

/** Hand the preference in and go on. */
async function submit() {
  if (busy || !task) return;
  const value = chosen();
  if (!value) {
    showProblem("Choose A, B or tie first.");
    radios[0].focus();
    return;
  }
  if (reason.required && !reason.value.trim()) {
    showProblem("Please give a reason for this choice.");
    reason.focus();
    return;
  }
  busy = true;
  const decision = value === "skipped" ? { outcome: value } : { preference: value };
  const body = { version: task.version, ...decision, reason: reason.value, active_s: clock.seconds() };
  try {
    const answer = await ask("POST", `/api/assignments/${task.assignment_id}/submit`, body);
    if (answer.ok) {
      last = { id: answer.data.submission_id, preference: value, reason: reason.value };
      forget(task);
      rememberInAddress(null);
      showDone(`Handed in: ${NAMES[/** @type {keyof typeof NAMES} */ (value)]}.`);
      await next();
    } else if (answer.status === 409) {
      keepHere();
      rememberInAddress(null);
      const sentence = problemOf(answer);
      await next();
      showNotice(sentence);
    } else showProblem(problemOf(answer));
  } catch (error) {
    if (!(error instanceof Offline)) throw error;
    keepHere();
    showProblem("Not handed in: the server does not answer. Your choice is kept in this browser; try again.");
  } finally {
    busy = false;
  }
}

/** Take the last hand-in back. */
async function undo() {
  if (!last || busy) return;
  busy = true;
  try {
    const answer = await ask("POST", `/api/submissions/${last.id}/undo`);
    if (answer.ok && answer.data.kind === "compare") {
      showDone(null);
      begin(answer.data, last);
      last = null;
    } else if (answer.ok) location.assign(`/?assignment=${answer.data.assignment_id}`);
    else showProblem(problemOf(answer));
  } catch (error) {
    if (!(error instanceof Offline)) throw error;
    showProblem("Not taken back: the server does not answer. Try again in a moment.");
  } finally {
    busy = false;
  }
}

/** @param {string} value */
function choiceByKey(value) {
  choose(value);
  showProblem("");
  keepHere();
  announce(NAMES[/** @type {keyof typeof NAMES} */ (value)]);
}

for (const radio of radios) radio.addEventListener("change", () => choiceByKey(radio.value));
reason.addEventListener("input", keepHere);
byId("save").addEventListener("click", () => void submit());
byId("done-undo").addEventListener("click", () => void undo());
byId("done-close").addEventListener("click", () => showDone(null));
byId("notice-close").addEventListener("click", () => showNotice(""));
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
