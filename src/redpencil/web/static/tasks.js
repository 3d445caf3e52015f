// @ts-check
/** Getting a task, handing it in and taking it back: the same for edits and comparisons. */
import { Offline, ask, problemOf } from "./api.js";
import { announce, byId } from "./dom.js";

/** @typedef {import("./drafts.js").Task} Task */

const RETRY_MS = 3000;

/**
 * Show one of the states of the page: "loading", "desk", "empty" or "away".
 * @param {string} state
 * @param {string} [sentence] why the page is away
 */
export function showPage(state, sentence = "") {
  for (const name of ["loading", "desk", "empty", "away"]) byId(name).hidden = name !== state;
  if (sentence) byId("away-text").textContent = sentence;
  if (state === "empty" || state === "away") announce(byId(state).textContent?.trim().replace(/\s+/g, " ") ?? "");
}

/**
 * The task that the address asks for, else the next one; null where there is none. Waits for the server as long as it
 * takes.
 * @returns {Promise<Task | null>}
 */
export async function nextTask() {
  for (;;) {
    try {
      const asked = Number(new URLSearchParams(location.search).get("assignment"));
      if (asked) {
        const answer = await ask("GET", `/api/assignments/${asked}`);
        if (answer.ok && answer.data.state === "open") return answer.data;
        history.replaceState(null, "", location.pathname);
      }
      const answer = await ask("POST", "/api/next");
      if (answer.status === 204) return null;
      if (answer.ok) return answer.data;
      showPage("away", problemOf(answer));
      return await new Promise(() => undefined);
    } catch (error) {
      if (!(error instanceof Offline)) throw error;
      showPage("away", "The server does not answer. This page goes on by itself when it is back.");
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

/**
 * Put the task into the address, so that a reload and a second tab come back to it.
 * @param {Task | null} task
 */
export function rememberInAddress(task) {
  history.replaceState(null, "", task ? `${location.pathname}?assignment=${task.assignment_id}` : location.pathname);
}

/**
 * Show prompt and context.
 * @param {Task} task
 */
export function showPrompt(task) {
  byId("prompt").textContent = task.prompt;
  const context = /** @type {HTMLDetailsElement} */ (byId("context"));
  context.hidden = !task.context;
  context.open = false;
  byId("context-text").textContent = task.context;
  byId("desk").toggleAttribute("data-code", /```|\t/.test(task.response + (task.second ?? "")));
}

/**
 * Say that something was handed in, with a way to take it back; null takes the message away.
 * @param {string | null} sentence
 */
export function showDone(sentence) {
  byId("done").hidden = sentence === null;
  if (sentence === null) return;
  byId("done-text").textContent = sentence;
  announce(sentence);
}
