// @ts-check
/** What pages share: the guidelines, the keys and messages. */
import { announce, byId, make, read, write } from "./dom.js";

/**
 * The actions that every working page has.
 * @returns {Action[]}
 */
export function sharedActions() {
  return [
    { id: "open-guidelines", label: "Guidelines", keys: ["Alt+G", "F2"], run: () => void openGuidelines() },
    { id: "open-keys", label: "Keys", keys: ["Ctrl+/", "F1"], run: openKeys },
  ];
}

/** Make the buttons that open dialogs work, and those that close them. */
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
 * Show the guidelines of their own accord to somebody who has not seen them as they are now.
 * @param {string} mark names the guidelines as they are; "" where the project has none of its own
 */
export function offerGuidelines(mark) {
  const store = `redpencil guidelines ${document.body.dataset.person ?? ""}`;
  const dialog = /** @type {HTMLDialogElement} */ (byId("guidelines"));
  if (!mark || dialog.open || read(store) === mark) return;
  dialog.addEventListener("close", () => write(store, mark), { once: true });
  void openGuidelines();
}

/** Show the guidelines over the page, or put them away; the work below stays as it is. */
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

/** @typedef {{id: string, label: string, keys: string[], run: () => void}} Action */

const KEYS = "redpencil keys";
const NEVER = ["Backspace", "Delete", "Tab", "Escape"];
const BROWSER = ["A", "C", "V", "X", "Z", "Y", "W", "T", "N", "R", "L"].map((key) => `Ctrl+${key}`);
const DIGITS_AND_LETTERS = /^(?:Key|Digit)(.)$/;

/** @type {Action[]} */
let actions = [];
/** @type {((keys: string) => void) | null} */
let capture = null;

/**
 * Listen for the keys of these actions, and show them where an element has `data-keys` with an action's id.
 * @param {Action[]} those
 */
export function bindKeys(those) {
  actions = those;
  document.addEventListener("keydown", onKey);
  byId("keys-reset").addEventListener("click", () => remember({}));
  byId("keys").addEventListener("close", () => {
    capture = null;
  });
  showKeys();
}

/** Open the list of keys. */
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
 * The keys of an event, such as "Ctrl+Enter"; "" for a modifier alone, while a character is composed, and for AltGr.
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
 * Why these keys cannot be chosen for an action; "" where they can.
 * @param {string} keys
 * @param {Action} action
 */
function objection(keys, action) {
  const last = keys.split("+").at(-1) ?? "";
  if (NEVER.includes(last)) return `${keys} is left to typing and moving about.`;
  if (BROWSER.includes(keys)) return `${keys} belongs to the browser.`;
  if (!/^(Ctrl|Alt)\+|^(Shift\+)?F\d+$/.test(keys)) return "Choose keys with Ctrl or Alt, or a function key.";
  const other = actions.find((one) => one !== action && keysFor(one).includes(keys));
  return other ? `${keys} is taken by “${other.label}”.` : "";
}

/**
 * @param {Action} action
 * @returns {string[]}
 */
function keysFor(action) {
  const chosen = read(KEYS)?.[action.id];
  return typeof chosen === "string" ? [chosen] : action.keys;
}

/** @param {Record<string, string>} chosen */
function remember(chosen) {
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
 * @param {Action} action
 * @param {HTMLElement} cell
 */
function askForKeys(action, cell) {
  cell.replaceChildren(make("em", {}, "Press the new keys"));
  say(`Press the new keys for ${action.label}. Escape leaves the list.`);
  capture = (keys) => {
    const problem = objection(keys, action);
    if (problem) {
      say(problem);
      return;
    }
    capture = null;
    remember({ ...read(KEYS), [action.id]: keys });
    say(`${action.label}: ${keys}.`);
    const index = actions.indexOf(action);
    byId("keys-list").querySelectorAll("button")[index]?.focus();
  };
}

/** @param {string} text */
function say(text) {
  byId("keys-note").textContent = text;
  announce(text);
}

/**
 * A message that needs the person; "" takes it away.
 * @param {string} sentence
 */
export function showProblem(sentence) {
  byId("problem").hidden = sentence === "";
  byId("problem").textContent = sentence;
}

/**
 * A quiet message; "" takes it away.
 * @param {string} sentence
 */
export function showNotice(sentence) {
  byId("notice").hidden = sentence === "";
  byId("notice-text").textContent = sentence;
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

const SETTLED = "redpencil settled";

/** @param {number} item */
export function tellSettled(item) {
  try {
    sessionStorage.setItem(SETTLED, String(item));
  } catch {
    // A browser that keeps nothing says nothing.
  }
}

/**
 * @param {number | null} [here] the item that this page is about; what is on it needs no link to it
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
