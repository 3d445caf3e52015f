// @ts-check
/**
 * Texts of a response other than the one in the editor: the other version in a conflict, texts that were set aside,
 * and responses that the person can no longer edit. All of them are kept.
 */
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
 *
 * @typedef {object} Desk the editing page
 * @property {() => {task: Task, keeper: DraftKeeper} | null} now returns the current task
 * @property {() => string} text returns the exact text
 * @property {(text: string) => void} put puts an exact text into the editor
 * @property {() => void} chosen called when the person has chosen a version to continue with
 * @property {(notice: string, safe?: boolean) => Promise<void>} goOn continues with the next task; `safe`: nothing is
 *   lost if this browser's copy is removed
 * @property {(task: Task) => void} overtaken called when other people have got the task and the server has this page's text
 */

/** Resolves conflicts between the text on the page and another version, which the server or this browser has. */
export class Versions {
  /** @type {Desk} */ desk;
  /** @type {Theirs | null} */ theirs = null;

  /** @param {Desk} desk */
  constructor(desk) {
    this.desk = desk;
  }

  /** Start with a new task. */
  begin() {
    this.theirs = null;
    this.showAside();
  }

  /**
   * Handle a conflict. If nothing would be lost, the page moves on without asking.
   * @param {Theirs} found
   */
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

  /** Show both versions and let the person choose. */
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
        return "This browser has no room to keep your text. Copy it before you continue.";
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
   * Treat a text that this browser kept as a conflict, because the server has a newer version.
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

  /** Show the texts that are set aside. */
  showAside() {
    const now = this.desk.now();
    if (now) showAside(now.task, (text) => this.desk.put(text));
  }
}

/**
 * Open the dialog with both texts. Closing it without a choice leaves the conflict open.
 * @param {{mine: string, theirs: string, problem: string, canKeepMine: boolean}} what
 * @param {(choice: "mine" | "theirs") => string} decide returns why the dialog must stay open, or ""
 */
function openConflict(what, decide) {
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
 * Show one of the texts with its differences marked.
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

/** Texts that the browser has no room for. They stay on this page even when it shows another task. @type {string[]} */
const loose = [];

/**
 * Set a text aside, unless it equals the response. Returns false if this browser has no room, so that the text exists
 * only on this page.
 * @param {Owner} task
 * @param {string} text
 */
function putAside(task, text) {
  const texts = asideOf(task);
  if (text === task.response || texts.includes(text)) return true;
  if (!loose.includes(text)) {
    if (setAside(task, [...texts, text])) return true;
    loose.push(text);
  }
  return false;
}

/** Tell whether some texts exist only on this page. */
export function hasLoose() {
  return loose.length > 0;
}

/**
 * Show the texts set aside for a task, and those that exist only on this page.
 * @param {Owner} task
 * @param {(text: string) => void} use puts a text into the editor
 */
function showAside(task, use) {
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
 * Create a list item for a text that is set aside.
 * @param {string} text
 * @param {number} i
 * @param {((text: string) => void) | null} use `null` if the text may belong to another response
 * @param {() => void} discard
 */
function item(text, i, use, discard) {
  return make(
    "li",
    use ? {} : { class: "loose" },
    textBox(text, `Text ${i + 1} set aside`),
    use ? make("button", { type: "button", onclick: () => use(text) }, "Put it into the editor") : copyButton(text),
    make("button", { type: "button", class: "quiet", onclick: discard }, "Discard"),
  );
}

/**
 * @param {string} text
 * @param {string} label
 */
function textBox(text, label) {
  return make("div", { class: "text-box", tabindex: "0", role: "group", "aria-label": label }, text);
}

/** @param {string} text */
function copyButton(text) {
  const button = make("button", { type: "button", onclick: () => void copyFrom(button, text) }, "Copy");
  return button;
}

/** Title and explanation of a closed response, by its state. */
const WORDS = {
  taken: [
    "Others have this item now",
    "Nothing was saved here for a while, so it went to somebody else or was settled. Your text is kept under My work.",
  ],
  free: [
    "You have left this item",
    "It was given back, or nothing was saved for a while. Nobody else has it now, so you can continue with it.",
  ],
  done: ["You have handed this in", "Under My work you can take it back and continue with it."],
};

/**
 * Show a response that the person cannot edit now. The promise resolves when they have got it back.
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

/**
 * Explain why the response is closed.
 * @param {"taken" | "free" | "done"} standing
 */
function tell(standing) {
  const [title, why] = WORDS[standing];
  byId("h-closed").textContent = title;
  byId("closed-why").textContent = why;
  byId("closed-take-up").hidden = standing !== "free";
  announce(`${title}. ${why}`);
}

/**
 * Ask the server for the task again.
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
 * Show texts that this browser has and the server does not.
 * @param {Task} task
 */
function showOthers(task) {
  const kept = recall(task)?.text;
  const texts = [...new Set([...(kept === undefined ? [] : [kept]), ...asideOf(task)])];
  const others = texts.filter((text) => text !== task.draft && text !== task.response);
  byId("closed-others").hidden = others.length === 0;
  byId("closed-others-list").replaceChildren(
    ...others.map((text, i) => make("li", {}, textBox(text, `Text ${i + 1} kept in this browser`), copyButton(text))),
  );
}
