// @ts-check
/** Elements, texts in them, the clipboard and what this browser stores. User text only ever goes in as text, never as markup. */

/**
 * The element with this id, which the page's template has.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no element #${id}`);
  return element;
}

/**
 * A new element. Attributes that are `false`, `null` or `undefined` are left out; `onclick` and the like are listeners.
 * @param {string} tag
 * @param {Record<string, any>} attributes
 * @param {...(Node | string | null)} children
 * @returns {HTMLElement}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/**
 * Say something to people who listen instead of looking.
 * @param {string} text
 */
export function announce(text) {
  const region = byId("announcer");
  region.textContent = region.textContent === text ? `${text}\u00a0` : text;
}

/**
 * A clock time, such as 14:03.
 * @param {Date} date
 */
export function clockTime(date) {
  return date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

/** @param {number} share */
export function percent(share) {
  return `${Math.round(share * 100)}\u00a0%`;
}

/**
 * @param {number} count
 * @param {string} noun
 */
export function counted(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

/** @param {ParentNode} [within] */
export function showTimes(within = document) {
  for (const place of /** @type {NodeListOf<HTMLTimeElement>} */ (within.querySelectorAll("time[data-at]"))) {
    const date = new Date(Number(place.dataset.at) * 1000);
    place.dateTime = date.toISOString();
    place.textContent = date.toLocaleString([], { dateStyle: "medium", timeStyle: "day" in place.dataset ? undefined : "short" });
  }
}

/**
 * Copy a text and say so on the button.
 * @param {HTMLElement} button
 * @param {string} text
 */
export async function copyFrom(button, text) {
  const copied = (await toClipboard(text)) || typed(text);
  const before = button.dataset.label ?? button.textContent ?? "";
  button.dataset.label = before;
  button.textContent = copied ? "Copied" : "Mark the text and copy it by hand";
  announce(button.textContent);
  setTimeout(() => (button.textContent = before), 2500);
  button.focus();
}

/** @param {string} text */
async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** @param {string} text */
function typed(text) {
  const area = /** @type {HTMLTextAreaElement} */ (make("textarea", { class: "hidden", "aria-hidden": "true" }));
  area.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}

/**
 * A value of this browser, null where there is none or it cannot be read.
 * @param {string} name
 * @returns {any}
 */
export function read(name) {
  try {
    return JSON.parse(localStorage.getItem(name) ?? "null");
  } catch {
    return null;
  }
}

/**
 * @param {string} name
 * @param {unknown} value
 */
export function write(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

/** @param {string} name */
export function remove(name) {
  try {
    localStorage.removeItem(name);
  } catch {
    // A browser that keeps nothing has nothing to remove.
  }
}
