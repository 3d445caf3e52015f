// @ts-check
/** The page of what one has handed in. */
import { Offline, ask, problemOf } from "./api.js";
import { showProblem } from "./status.js";

for (const time of document.querySelectorAll("time[data-at]")) {
  const date = new Date(Number(/** @type {HTMLElement} */ (time).dataset.at) * 1000);
  time.setAttribute("datetime", date.toISOString());
  time.textContent = date.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

for (const button of document.querySelectorAll("button.undo"))
  button.addEventListener("click", () => void takeBack(/** @type {HTMLElement} */ (button)));

/** @param {HTMLElement} button */
async function takeBack(button) {
  try {
    const answer = await ask("POST", `/api/submissions/${button.dataset.submission}/undo`);
    if (answer.ok) location.assign(`/?assignment=${answer.data.assignment_id}`);
    else showProblem(problemOf(answer));
  } catch (error) {
    if (!(error instanceof Offline)) throw error;
    showProblem("The server does not answer. Try again in a moment.");
  }
}
