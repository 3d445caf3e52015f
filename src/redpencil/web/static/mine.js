// @ts-check
/** The page of a person's own work: drafts and submissions. */
import { Offline, ask, problemOf } from "./api.js";
import { copyFrom, showTimes } from "./dom.js";
import { showProblem } from "./page.js";
import { addressOf } from "./task.js";

showTimes();

for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("button.undo")))
  button.addEventListener("click", () => void answered(() => takeBack(button)));
for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("button.copy")))
  button.addEventListener("click", () => void answered(() => copy(button)));

/**
 * Take a submission back and open it.
 * @param {HTMLElement} button
 */
async function takeBack(button) {
  const answer = await ask("POST", `/api/submissions/${button.dataset.submission}/undo`);
  if (answer.ok) location.assign(addressOf(answer.data));
  else showProblem(problemOf(answer));
}

/**
 * Copy the text of a draft.
 * @param {HTMLElement} button
 */
async function copy(button) {
  const answer = await ask("GET", `/api/assignments/${button.dataset.assignment}`);
  if (answer.ok) await copyFrom(button, answer.data.draft);
  else showProblem(problemOf(answer));
}

/**
 * Do something, and show a message if the server does not answer.
 * @param {() => Promise<void>} act
 */
async function answered(act) {
  try {
    await act();
  } catch (error) {
    if (!(error instanceof Offline)) throw error;
    showProblem("The server does not answer. Try again in a moment.");
  }
}
