// @ts-check
/** Parts that several pages share: the guidelines dialog, keyboard shortcuts and messages. */
import { announce, byId, make, read, write } from "./dom.js";

/**
 * Return the actions that every work page has.
 * @returns {Action[]}
 */
export function sharedActions() {
  return [
    { id: "open-guidelines", label: "Guidelines", keys: ["Alt+G", "F2"], run: () => void openGuidelines() },
    { id: "open-keys", label: "Keys", keys: ["Ctrl+/", "F1"], run: openKeys },
  ];
}

/** Connect the buttons that open and close the dialogs. */
export function bindDialogs() {
  byId("open-guidelines").addEventListener("click", (event) => {
    event.preventDefault();
    void openGuidelines();
  });
  byId("open-keys").addEventListener("click", openKeys);
  for (const button of document.querySelectorAll("dialog .close"))
    button.addEventListener("click", () => /** @type {HTMLDialogElement | null} */ (button.closest("dialog"))?.close());
}

/**
 * Open the guidelines if this person has not seen their current version in this browser.
 * @param {string} mark identifies the version; "" if the project has no guidelines of its own
 */
export function offerGuidelines(mark) {
  const store = `redpencil guidelines ${document.body.dataset.person ?? ""}`;
  const dialog = /** @type {HTMLDialogElement} */ (byId("guidelines"));
  if (!mark || dialog.open || read(store) === mark) return;
  dialog.addEventListener("close", () => write(store, mark), { once: true });
  void openGuidelines();
}

/** Open or close the guidelines dialog. */
async function openGuidelines() {
  const dialog = /** @type {HTMLDialogElement} */ (byId("guidelines"));
  if (dialog.open) {
    dialog.close();
    return;
  }
  const body = byId("guidelines-body");
  dialog.showModal();
  if (body.dataset.loaded) return;
  try {
    const response = await fetch("/guidelines", { credentials: "same-origin" });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const text = page.querySelector(".guidelines-text");
    if (!response.ok || !text) throw new Error("no guidelines");
    body.replaceChildren(...[...text.childNodes].map((node) => document.importNode(node, true)));
    body.dataset.loaded = "yes";
  } catch {
    body.textContent = "The server does not answer. Try again in a moment.";
  }
}

/**
 * An action with keyboard shortcuts. Shortcuts work while the person types: each needs Ctrl or Alt or is a function
 * key. Command counts as Ctrl on a Mac. A person can choose other keys, which are stored in this browser.
 * @typedef {{id: string, label: string, keys: string[], run: () => void}} Action
 */

const KEYS = "redpencil keys";
const NEVER = ["Backspace", "Delete", "Tab", "Escape"];
const BROWSER = ["A", "C", "V", "X", "Z", "Y", "W", "T", "N", "R", "L"].map((key) => `Ctrl+${key}`);
const DIGITS_AND_LETTERS = /^(?:Key|Digit)(.)$/;

/** @type {Action[]} */
let actions = [];
/** @type {((keys: string) => void) | null} */
let capture = null;

/**
 * Listen for the keys of some actions, and show them in elements whose `data-keys` names the action.
 * @param {Action[]} bound
 */
export function bindKeys(bound) {
  actions = bound;
  document.addEventListener("keydown", onKey);
  byId("keys-reset").addEventListener("click", () => storeKeys({}));
  byId("keys").addEventListener("close", () => {
    capture = null;
  });
  showKeys();
}

/** Open or close the list of keys. */
export function openKeys() {
  const dialog = /** @type {HTMLDialogElement} */ (byId("keys"));
  if (dialog.open) dialog.close();
  else dialog.showModal();
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  const keys = keysOf(event);
  if (!keys) return;
  if (capture) {
    if (keys === "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    capture(keys);
    return;
  }
  const action = actions.find((one) => keysFor(one).includes(keys));
  if (!action) return;
  if (document.querySelector("dialog[open]") && !action.id.startsWith("open-")) return;
  event.preventDefault();
  if (!event.repeat) action.run();
}

/**
 * Name the keys of an event, such as "Ctrl+Enter"; "" for a modifier alone, during composition, and with AltGr.
 * @param {KeyboardEvent} event
 */
function keysOf(event) {
  if (event.isComposing || event.getModifierState("AltGraph")) return "";
  if (["Control", "Alt", "Shift", "Meta", "Dead", "Process", "Unidentified"].includes(event.key)) return "";
  const plain = DIGITS_AND_LETTERS.exec(event.code)?.[1];
  const symbol = !plain && event.key.length === 1;
  return [
    event.ctrlKey || event.metaKey ? "Ctrl" : "",
    event.altKey ? "Alt" : "",
    event.shiftKey && !symbol ? "Shift" : "",
    plain ?? (event.key === " " ? "Space" : event.key),
  ]
    .filter(Boolean)
    .join("+");
}

/**
 * Explain why an action cannot have these keys; "" if it can.
 * @param {string} keys
 * @param {Action} action
 */
function objection(keys, action) {
  const last = keys.split("+").at(-1) ?? "";
  if (NEVER.includes(last)) return `${keys} is needed for typing and moving around.`;
  if (BROWSER.includes(keys)) return `${keys} belongs to the browser.`;
  if (!/^(Ctrl|Alt)\+|^(Shift\+)?F\d+$/.test(keys)) return "Choose keys with Ctrl or Alt, or a function key.";
  const other = actions.find((one) => one !== action && keysFor(one).includes(keys));
  return other ? `${keys} is taken by “${other.label}”.` : "";
}

/**
 * Return the keys of an action: the chosen ones, else the defaults.
 * @param {Action} action
 * @returns {string[]}
 */
function keysFor(action) {
  const chosen = read(KEYS)?.[action.id];
  return typeof chosen === "string" ? [chosen] : action.keys;
}

/** @param {Record<string, string>} chosen */
function storeKeys(chosen) {
  write(KEYS, chosen);
  showKeys();
}

function showKeys() {
  byId("keys-list").replaceChildren(...actions.map(row));
  for (const hint of document.querySelectorAll("[data-keys]")) {
    const action = actions.find((one) => one.id === /** @type {HTMLElement} */ (hint).dataset.keys);
    hint.textContent = action ? keysFor(action)[0] : "";
  }
}

/**
 * Create the row of an action in the list of keys.
 * @param {Action} action
 * @returns {HTMLElement}
 */
function row(action) {
  const shown = keysFor(action).flatMap((keys, i) => [...(i ? [" or "] : []), make("kbd", {}, keys)]);
  const cell = make("td", {}, ...shown);
  const name = `Change the keys for ${action.label}`;
  const button = make("button", { type: "button", class: "quiet", "aria-label": name }, "Change");
  button.addEventListener("click", () => askForKeys(action, cell));
  return make("tr", {}, make("th", { scope: "row" }, action.label), cell, make("td", {}, button));
}

/**
 * Let the person press new keys for an action.
 * @param {Action} action
 * @param {HTMLElement} cell shows the action's keys
 */
function askForKeys(action, cell) {
  cell.replaceChildren(make("em", {}, "Press the new keys"));
  say(`Press the new keys for ${action.label}. Escape closes the list.`);
  capture = (keys) => {
    const problem = objection(keys, action);
    if (problem) {
      say(problem);
      return;
    }
    capture = null;
    storeKeys({ ...read(KEYS), [action.id]: keys });
    say(`${action.label}: ${keys}.`);
    const index = actions.indexOf(action);
    byId("keys-list").querySelectorAll("button")[index]?.focus();
  };
}

/**
 * Show and announce a text in the list of keys.
 * @param {string} text
 */
function say(text) {
  byId("keys-note").textContent = text;
  announce(text);
}

/**
 * Show a message that the person has to act on; "" hides it.
 * @param {string} sentence
 */
export function showProblem(sentence) {
  byId("problem").hidden = sentence === "";
  byId("problem").textContent = sentence;
}

/**
 * Show a message for information; "" hides it.
 * @param {string} sentence
 */
export function showNotice(sentence) {
  byId("notice").hidden = sentence === "";
  byId("notice-text").textContent = sentence;
}

/**
 * Show that something was handed in, with an undo button; null hides the message.
 * @param {string | null} sentence
 */
export function showDone(sentence) {
  byId("done").hidden = sentence === null;
  if (sentence === null) return;
  byId("done-text").textContent = sentence;
  announce(sentence);
}

const SETTLED = "redpencil settled";

/**
 * Remember that an item was settled, so that the next page shows it.
 * @param {number} item
 */
export function tellSettled(item) {
  try {
    sessionStorage.setItem(SETTLED, String(item));
  } catch {
    // Without session storage the message is not shown.
  }
}

/**
 * Show that an item was settled on the page before, with a link to change the decision.
 * @param {number | null} [here] the item of this page, which needs no link to itself
 */
export function showSettled(here = null) {
  let item = "";
  try {
    item = sessionStorage.getItem(SETTLED) ?? "";
    sessionStorage.removeItem(SETTLED);
  } catch {
    return;
  }
  if (!/^\d+$/.test(item) || Number(item) === here) return;
  /** @type {HTMLAnchorElement} */ (byId("settled-link")).href = `/disputes/${item}`;
  byId("settled-toast").hidden = false;
  byId("settled-close").addEventListener("click", () => (byId("settled-toast").hidden = true));
  announce("Settled.");
}
