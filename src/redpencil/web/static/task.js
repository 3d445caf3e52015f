// @ts-check
/** Tasks, which are edits or comparisons: getting and showing one, handing it in, its lease and the time worked. */
import { Offline, ask, problemOf } from "./api.js";
import { announce, byId, clockTime } from "./dom.js";
import { theirsOf } from "./draft.js";
import { showProblem } from "./page.js";

/** @typedef {import("./draft.js").Task} Task */

const RETRY_MS = 3000;

/**
 * Show one state of the page: "loading", "desk", "empty", "away", or "closed" on the editing page.
 * @param {string} state
 * @param {string} [sentence] why there is no task; for "away"
 */
export function showPage(state, sentence = "") {
  for (const name of ["loading", "desk", "empty", "away"]) byId(name).hidden = name !== state;
  document.getElementById("closed")?.toggleAttribute("hidden", state !== "closed");
  if (sentence) byId("away-text").textContent = sentence;
  if (state === "empty" || state === "away") announce(byId(state).textContent?.trim().replace(/\s+/g, " ") ?? "");
}

/**
 * Return the task that the address asks for, else the next one; null if there is none. Waits for the server if it does
 * not answer.
 * @param {((task: Task) => Promise<Task>) | null} [showClosed] shows a task that the person does not hold, and returns
 *   it once they have taken it up again
 * @returns {Promise<Task | null>}
 */
export async function nextTask(showClosed = null) {
  for (;;) {
    try {
      const asked = Number(new URLSearchParams(location.search).get("assignment"));
      if (asked) {
        const found = await askedFor(asked);
        if (found?.standing === "yours") return found;
        if (found?.kind === "edit" && showClosed) return await showClosed(found);
        rememberInAddress(null);
      }
      const answer = await ask("POST", "/api/next");
      if (answer.status === 204) return null;
      if (answer.ok) return answer.data;
      showPage("away", problemOf(answer));
      return await new Promise(() => undefined);
    } catch (error) {
      if (!(error instanceof Offline)) throw error;
      showPage("away", "The server does not answer. This page continues by itself when the server is back.");
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

/**
 * Fetch one of the person's own tasks. If its lease ran out and nobody else has taken it, take it up again.
 * @param {number} assignment
 * @returns {Promise<Task | null>}
 */
async function askedFor(assignment) {
  const path = `/api/assignments/${assignment}`;
  const answer = await ask("GET", path);
  if (!answer.ok) return null;
  if (answer.data.state !== "open" || answer.data.standing !== "free") return answer.data;
  const again = await ask("POST", `${path}/take-up`);
  return again.ok ? again.data : { ...answer.data, standing: "taken" };
}

/**
 * Return the address of a task's page.
 * @param {{assignment_id: number}} task
 */
export function addressOf(task) {
  return `/work?assignment=${task.assignment_id}`;
}

/**
 * Put the task into the address, so that a reload or a second tab leads back to it.
 * @param {Task | null} task
 */
export function rememberInAddress(task) {
  history.replaceState(null, "", task ? addressOf(task) : "/work");
}

/**
 * Show the prompt and the context.
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

/** Fetch and show how many tasks are done and how many are left. */
export async function showTally() {
  const answer = await ask("GET", "/api/tally").catch(() => null);
  if (!answer?.ok) return;
  const { done, left } = answer.data;
  byId("tally").textContent = `${done.toLocaleString("en")} done, about ${left.toLocaleString("en")} left`;
  byId("tally").hidden = false;
}

/**
 * What is handed in, without the text.
 * @typedef {import("./draft.js").Mark} Mark
 * @typedef {{outcome?: string | null, preference?: string, reason: string, tags?: Mark[]}} Decision
 */

/**
 * Hand a task in. The text is left out if the server has it already and the outcome is not an edit. If the server
 * refuses because it has a newer version whose text comes from this page, send it once more.
 * @param {import("./draft.js").DraftKeeper} keeper
 * @param {Decision} decision
 * @returns {Promise<import("./api.js").Answer>}
 * @throws {import("./api.js").Offline} if there is no answer
 */
export async function handIn(keeper, decision) {
  const text = keeper.desk.text();
  const known = decision.outcome !== "edited" && text === keeper.stored;
  const send = () => {
    const body = { version: keeper.version, ...decision, active_s: keeper.desk.seconds() };
    return ask("POST", keeper.path("submit"), known ? body : { ...body, text });
  };
  const answer = await send();
  if (answer.status !== 409) return answer;
  const found = theirsOf(answer.data);
  if (found.reason !== "changed" || (found.text !== text && !keeper.mayHaveSent(found.text))) return answer;
  keeper.version = found.version;
  return send();
}

/** @typedef {import("./draft.js").State} State */

let lastSaid = "";

/**
 * Show whether the work is saved.
 * @param {State | ""} state
 * @param {string} problem
 * @param {boolean} kept whether this browser has a copy of the text
 */
export function showState(state, problem = "", kept = true) {
  const here = kept ? "kept in this browser" : "this browser cannot keep it: leave the page open";
  const sentences = {
    "": "",
    saved: `Saved ${clockTime(new Date())}`,
    waiting: "Saving…",
    saving: "Saving…",
    offline: `Not saved: the server does not answer; ${here}`,
    refused: `Not saved; ${here}`,
    conflict: "Not saved: there is another version",
  };
  const place = byId("save-state");
  place.dataset.state = state;
  byId("save-text").textContent = sentences[state];
  document.getElementById("conflict-open")?.toggleAttribute("hidden", state !== "conflict");
  if (state === "refused") showProblem(problem);
  const said = state === "saving" ? "waiting" : state;
  if (said !== "waiting" && said !== lastSaid && said !== "" && (said !== "saved" || lastSaid !== "")) {
    announce(sentences[state]);
  }
  if (said !== "waiting") lastSaid = said;
}

/** @typedef {"yours" | "over" | "taken"} Hold `over`: others can take the task; `taken`: they have taken it */

/**
 * The lease on a task. It is renewed while the person is active on the page, so that a page that is merely left open
 * does not block the task for others. The page shows when the lease has run out.
 */
export class Lease {
  /** @type {number} */ seconds;
  /** @type {() => void} */ renew;
  /** @type {Record<"over" | "taken", string>} */ sentences;
  /** Time of the last renewal; `null` while there is no task. @type {number | null} */ asked = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ timer;

  /**
   * @param {number} seconds duration of a lease
   * @param {() => void} renew asks the server to renew the lease; its answer is passed to `holds`
   * @param {Record<"over" | "taken", string>} sentences messages for a lost lease
   */
  constructor(seconds, renew, sentences) {
    this.seconds = seconds;
    this.renew = renew;
    this.sentences = sentences;
    whenActive(() => this.seen());
    document.addEventListener("visibilitychange", () => document.hidden || this.seen());
  }

  /**
   * Note how many seconds are left according to the server; 0 if others have taken the task.
   * @param {number} left
   */
  holds(left) {
    this.asked = Date.now();
    clearTimeout(this.timer);
    this.show(left > 0 ? "yours" : "taken");
    if (left > 0) this.timer = setTimeout(() => this.show("over"), left * 1000);
  }

  /** End the lease, because there is no task any more. */
  end() {
    this.asked = null;
    clearTimeout(this.timer);
    this.show("yours");
  }

  /** Renew the lease if a third of it has passed. Called when the person is active. */
  seen() {
    if (this.asked === null || Date.now() - this.asked < (this.seconds * 1000) / 3) return;
    this.asked = Date.now();
    this.renew();
  }

  /** @param {Hold} hold */
  show(hold) {
    const place = byId("lease");
    const sentence = hold === "yours" ? "" : this.sentences[hold];
    if (place.textContent === sentence) return;
    place.textContent = sentence;
    place.hidden = sentence === "";
    if (sentence) announce(sentence);
  }
}

const LONGEST_PAUSE_MS = 60_000;

/**
 * Measure the time worked on a task: while the page is visible and the person is active at least once a minute.
 * @param {number} already seconds worked before
 */
export function startClock(already) {
  let worked = already * 1000;
  let last = performance.now();
  const tick = () => {
    const now = performance.now();
    if (!document.hidden && now - last < LONGEST_PAUSE_MS) worked += now - last;
    last = now;
  };
  whenActive(tick);
  document.addEventListener("visibilitychange", () => {
    last = performance.now();
  });
  return {
    seconds() {
      tick();
      return Math.round(worked / 100) / 10;
    },
    /** @param {number} seconds */
    restart(seconds) {
      worked = seconds * 1000;
      last = performance.now();
    },
  };
}

const SIGNS = ["keydown", "input", "pointerdown", "pointermove", "wheel", "touchmove"];

/**
 * Call back whenever the person is active on this page.
 * @param {() => void} callback
 */
export function whenActive(callback) {
  for (const name of SIGNS) document.addEventListener(name, callback, { passive: true });
}
