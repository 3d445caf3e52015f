// @ts-check
/**
 * Keys that work while typing. Each needs Ctrl or Alt or is a function key, so no letter sets anything off; on a
 * Mac the Command key counts as Ctrl. A person can choose others; they are kept in this browser.
 */
import { announce, byId, make } from "./dom.js";
import { read, write } from "./kept.js";

/** @typedef {{id: string, label: string, keys: string[], run: () => void}} Action */

const STORE = "redpencil keys";
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
  const chosen = read(STORE)?.[action.id];
  return typeof chosen === "string" ? [chosen] : action.keys;
}

/** @param {Record<string, string>} chosen */
function remember(chosen) {
  write(STORE, chosen);
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
  button.addEventListener("click", () => ask(action, cell));
  return make("tr", {}, make("th", { scope: "row" }, action.label), cell, make("td", {}, button));
}

/**
 * @param {Action} action
 * @param {HTMLElement} cell
 */
function ask(action, cell) {
  cell.replaceChildren(make("em", {}, "Press the new keys"));
  say(`Press the new keys for ${action.label}. Escape leaves the list.`);
  capture = (keys) => {
    const problem = objection(keys, action);
    if (problem) {
      say(problem);
      return;
    }
    capture = null;
    remember({ ...read(STORE), [action.id]: keys });
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
