// @ts-check
/** Versions of a response other than the one in the editor: conflicts, texts set aside, responses that are closed. */
import { Offline, ask, problemOf, sentence } from "./api.js";
import { announce, byId, copyFrom, make } from "./dom.js";
import { asideOf, recall, setAside } from "./draft.js";
import { showPage, showState } from "./task.js";
import { toTextarea } from "./text.js";
import { diffWords, drawRedline, joinLight } from "./words.js";

/**
 * @typedef {import("./draft.js").DraftKeeper} DraftKeeper
 * @typedef {import("./draft.js").Owner} Owner
 * @typedef {import("./draft.js").Task} Task
 * @typedef {import("./draft.js").Theirs} Theirs
 * @typedef {object} Desk
 * @property {() => {task: Task, keeper: DraftKeeper} | null} now what is worked on
 * @property {() => string} text the exact text as it stands in the page
 * @property {(text: string) => void} put puts an exact text into the editor
 * @property {() => void} chosen the person goes on with one of the two
 * @property {(notice: string, safe?: boolean) => Promise<void>} goOn to the next task
 * @property {(task: Task) => void} overtaken others have the task, and the server has all of this page's text
 */

/** Lets the person choose between two versions. */
export class Versions {
  /** @type {Desk} */ desk;
  /** @type {Theirs | null} */ theirs = null;

  /** @param {Desk} desk */
  constructor(desk) {
    this.desk = desk;
  }

  /** Another task is shown. */
  begin() {
    this.theirs = null;
    this.showAside();
  }

  /** @param {Theirs} found */
  conflict(found) {
    const now = this.desk.now();
    const same = found.text === this.desk.text();
    if (now && same && found.reason === "taken") {
      this.desk.overtaken({ ...now.task, draft: found.text, standing: "taken" });
      return;
    }
    if (same && ["done", "released"].includes(found.reason)) {
      const why = sentence(found.problem) || "This response was handed in or given back in another tab.";
      void this.desk.goOn(why);
      return;
    }
    this.theirs = found;
    this.open();
  }

  /** Show both, and let the person choose. */
  open() {
    const { theirs } = this;
    if (!theirs || !this.desk.now()) return;
    const open = theirs.reason === "changed" || theirs.reason === "";
    const mine = this.desk.text();
    let warned = false;
    openConflict({ mine, theirs: theirs.text, problem: theirs.problem, canKeepMine: open }, (choice) => {
      const now = this.desk.now();
      if (!now) return "";
      const safe = putAside(now.task, choice === "mine" ? theirs.text : mine);
      this.showAside();
      if (!open && !safe && !warned) {
        warned = true;
        return "This browser has no room to keep your text. Copy it before you go on.";
      }
      this.theirs = null;
      if (!open) {
        void this.desk.goOn("", safe);
        return "";
      }
      this.desk.chosen();
      void now.keeper.resolve(theirs, choice);
      return "";
    });
  }

  /**
   * This browser kept a text from before a crash, but the server has moved on since.
   * @param {string} text
   * @param {Task} found
   */
  withKept(text, found) {
    const now = this.desk.now();
    if (!now) return;
    this.desk.put(text);
    now.keeper.conflicted = true;
    showState("conflict");
    this.conflict({
      text: found.draft,
      version: found.version,
      reason: "changed",
      problem: "This browser kept a text, and the server has a newer one from another tab or browser.",
    });
  }

  showAside() {
    const now = this.desk.now();
    if (now) showAside(now.task, (text) => this.desk.put(text));
  }
}

/**
 * Show the dialog with both texts. Closing it decides nothing.
 * @param {{mine: string, theirs: string, problem: string, canKeepMine: boolean}} what
 * @param {(choice: "mine" | "theirs") => string} decide gives why the dialog has to stay open, "" where it need not
 */
export function openConflict(what, decide) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("conflict"));
  byId("conflict-problem").textContent = sentence(what.problem);
  const blocks = diffWords(what.theirs, what.mine);
  fill(byId("conflict-mine"), what.mine, blocks, "edited");
  fill(byId("conflict-theirs"), what.theirs, blocks, "original");
  byId("conflict-keep-mine").hidden = !what.canKeepMine;
  byId("conflict-keep-theirs").textContent = what.canKeepMine ? "Keep this one" : "Go on";
  const choose = (/** @type {"mine" | "theirs"} */ choice) => () => {
    const objection = decide(choice);
    if (!objection) dialog.close();
    else {
      byId("conflict-problem").textContent = objection;
      byId("conflict-copy").hidden = false;
      byId("conflict-copy").focus();
      announce(objection);
    }
  };
  byId("conflict-copy").hidden = true;
  byId("conflict-copy").onclick = () => void copyFrom(byId("conflict-copy"), what.mine);
  byId("conflict-keep-mine").onclick = choose("mine");
  byId("conflict-keep-theirs").onclick = choose("theirs");
  if (!dialog.open) dialog.showModal();
}

/**
 * @param {HTMLElement} place
 * @param {string} text
 * @param {import("./words.js").Block[]} blocks
 * @param {"original" | "edited"} side
 */
function fill(place, text, blocks, side) {
  place.replaceChildren(
    ...blocks.map((block) => {
      const piece = text.slice(...block[side]);
      return block.kind === "equal" ? piece : make("mark", {}, piece);
    }),
  );
}

/** Texts that the browser has no room for; they stay on this page, whatever task it shows. @type {string[]} */
const loose = [];

addEventListener("beforeunload", (event) => {
  if (loose.length) event.preventDefault();
});

/**
 * Set a text aside, unless it is only the response itself. False where this browser cannot keep it: then it is only on
 * this page.
 * @param {Owner} task
 * @param {string} text
 */
export function putAside(task, text) {
  const texts = asideOf(task);
  if (text === task.response || texts.includes(text)) return true;
  if (!loose.includes(text)) {
    if (setAside(task, [...texts, text])) return true;
    loose.push(text);
  }
  return false;
}

/** Whether a text would be lost with this page. */
export function hasLoose() {
  return loose.length > 0;
}

/**
 * Show the texts that were set aside for a task, and those that are only on this page.
 * @param {Owner} task
 * @param {(text: string) => void} use puts a text into the editor
 */
export function showAside(task, use) {
  const texts = asideOf(task);
  byId("aside").hidden = texts.length + loose.length === 0;
  byId("aside-loose").hidden = loose.length === 0;
  const discard = (/** @type {() => void} */ remove) => () => {
    remove();
    showAside(task, use);
    (byId("aside").hidden ? byId("response") : byId("aside-list").querySelector("button"))?.focus();
  };
  byId("aside-list").replaceChildren(
    ...texts.map((text, i) => item(text, i, use, discard(() => setAside(task, texts.toSpliced(i, 1))))),
    ...loose.map((text, i) => item(text, texts.length + i, null, discard(() => loose.splice(i, 1)))),
  );
}

/**
 * @param {string} text
 * @param {number} i
 * @param {((text: string) => void) | null} use `null`: it may belong to another response
 * @param {() => void} discard
 */
function item(text, i, use, discard) {
  const label = `Text ${i + 1} set aside`;
  const way = use
    ? make("button", { type: "button", onclick: () => use(text) }, "Put it into the editor")
    : make("button", { type: "button", onclick: () => void copyFrom(way, text) }, "Copy");
  return make(
    "li",
    use ? {} : { class: "loose" },
    make("div", { class: "text-box", tabindex: "0", role: "group", "aria-label": label }, text),
    way,
    make("button", { type: "button", class: "quiet", onclick: discard }, "Discard"),
  );
}

const WORDS = {
  taken: [
    "Others have this item now",
    "While nothing was saved here it went to somebody else or was settled. Your text is kept; you find it under My work.",
  ],
  free: [
    "You have left this item",
    "It was given back, or nothing was saved for a while. Nobody else has it now, so you can go on with it.",
  ],
  done: ["You have handed this in", "Under My work you can take it back and go on with it."],
};

/**
 * Show it. The promise gives the task once it is taken up again.
 * @param {Task} task
 * @returns {Promise<Task>}
 */
export function showClosed(task) {
  const original = toTextarea(task.response);
  const text = toTextarea(task.draft);
  byId("closed-prompt").textContent = task.prompt;
  /** @type {HTMLTextAreaElement} */ (byId("closed-text")).value = text;
  drawRedline(byId("closed-redline"), original, text, joinLight(original, text, diffWords(original, text)));
  byId("closed-copy").onclick = () => void copyFrom(byId("closed-copy"), task.draft);
  showOthers(task);
  tell(task.standing === "yours" ? "free" : task.standing);
  showPage("closed");
  scrollTo({ top: 0 });
  byId("h-closed").focus({ preventScroll: true });
  return new Promise((resolve) => {
    byId("closed-take-up").onclick = () => void takeUp(task, resolve);
  });
}

/** @param {"taken" | "free" | "done"} standing */
function tell(standing) {
  const [title, why] = WORDS[standing];
  byId("h-closed").textContent = title;
  byId("closed-why").textContent = why;
  byId("closed-take-up").hidden = standing !== "free";
  announce(`${title}. ${why}`);
}

/**
 * @param {Task} task
 * @param {(again: Task) => void} resolve
 */
async function takeUp(task, resolve) {
  try {
    const answer = await ask("POST", `/api/assignments/${task.assignment_id}/take-up`);
    if (answer.ok) resolve(answer.data);
    else if (answer.status === 409) tell(answer.data.reason === "done" ? "done" : "taken");
    else byId("closed-why").textContent = problemOf(answer);
  } catch (error) {
    if (!(error instanceof Offline)) throw error;
    byId("closed-why").textContent = "The server does not answer. Try again in a moment.";
  }
}

/**
 * What this browser kept and the server does not have.
 * @param {Task} task
 */
function showOthers(task) {
  const kept = recall(task)?.text;
  const texts = [...new Set([...(kept === undefined ? [] : [kept]), ...asideOf(task)])];
  const others = texts.filter((text) => text !== task.draft && text !== task.response);
  byId("closed-others").hidden = others.length === 0;
  byId("closed-others-list").replaceChildren(
    ...others.map((text, i) => {
      const label = `Text ${i + 1} kept in this browser`;
      const copy = make("button", { type: "button", onclick: () => void copyFrom(copy, text) }, "Copy");
      return make("li", {}, make("div", { class: "text-box", tabindex: "0", role: "group", "aria-label": label }, text), copy);
    }),
  );
}
