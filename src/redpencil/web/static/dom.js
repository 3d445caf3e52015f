// @ts-check
/** Helpers for elements, formats, the clipboard and local storage. User text is inserted as text, never as markup. */

/**
 * Return the element with this id; the page's template must contain it.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no element #${id}`);
  return element;
}

/**
 * Create an element. Attributes that are `false`, `null` or `undefined` are omitted; names that start with "on" add
 * event listeners.
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
 * Announce a text to screen readers.
 * @param {string} text
 */
export function announce(text) {
  const region = byId("announcer");
  // The same text again would not be announced, so it gets an invisible difference.
  region.textContent = region.textContent === text ? `${text}\u00a0` : text;
}

/**
 * Format a time of day, such as 14:03.
 * @param {Date} date
 */
export function clockTime(date) {
  return date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

/**
 * Format a share from 0 to 1 as a percentage.
 * @param {number} share
 */
export function percent(share) {
  return `${Math.round(share * 100)}\u00a0%`;
}

/**
 * Format a count with its noun, which gets a plural "s" unless the count is 1.
 * @param {number} count
 * @param {string} noun
 */
export function counted(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

/**
 * Fill the `<time>` elements in the reader's time zone and format. The server writes the Unix time into `data-at`.
 * @param {ParentNode} [within]
 */
export function showTimes(within = document) {
  for (const place of /** @type {NodeListOf<HTMLTimeElement>} */ (within.querySelectorAll("time[data-at]"))) {
    const date = new Date(Number(place.dataset.at) * 1000);
    place.dateTime = date.toISOString();
    place.textContent = date.toLocaleString([], { dateStyle: "medium", timeStyle: "day" in place.dataset ? undefined : "short" });
  }
}

/**
 * Copy a text and show the result on the button.
 * @param {HTMLElement} button
 * @param {string} text
 */
export async function copyFrom(button, text) {
  const copied = (await copyByApi(text)) || copyBySelection(text);
  const before = button.dataset.label ?? button.textContent ?? "";
  button.dataset.label = before;
  button.textContent = copied ? "Copied" : "Select the text and copy it by hand";
  announce(button.textContent);
  setTimeout(() => (button.textContent = before), 2500);
  button.focus();
}

/**
 * Copy with the clipboard API, which browsers offer only over TLS and on localhost. Returns whether it worked.
 * @param {string} text
 */
async function copyByApi(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * Copy by selecting the text in a temporary textarea. Returns whether it worked.
 * @param {string} text
 */
function copyBySelection(text) {
  const area = /** @type {HTMLTextAreaElement} */ (make("textarea", { class: "hidden", "aria-hidden": "true" }));
  area.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}

/**
 * Read a value from local storage; null if it is missing or unreadable.
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
 * Write a value to local storage. Returns false if the browser refuses, for example because storage is full.
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

/**
 * Remove a value from local storage.
 * @param {string} name
 */
export function remove(name) {
  try {
    localStorage.removeItem(name);
  } catch {
    // Where storage is unavailable there is nothing to remove.
  }
}
