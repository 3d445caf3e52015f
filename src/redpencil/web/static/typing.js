// @ts-check
/** Changing a textarea so that the browser's own undo (Ctrl+Z) takes it back. */

/**
 * Replace a range as if it had been typed.
 * @param {HTMLTextAreaElement} area
 * @param {number} start
 * @param {number} end
 * @param {string} text
 */
export function typeInto(area, start, end, text) {
  if (area.value.slice(start, end) === text) return;
  area.focus({ preventScroll: true });
  area.setSelectionRange(start, end);
  const done = text === "" ? document.execCommand("delete") : document.execCommand("insertText", false, text);
  if (!done) {
    area.setRangeText(text, start, end, "end");
    area.dispatchEvent(new InputEvent("input", { bubbles: true }));
  }
}

/**
 * Make the whole text another one, changing only what lies between the shared beginning and the shared end.
 * @param {HTMLTextAreaElement} area
 * @param {string} text
 */
export function typeAll(area, text) {
  const old = area.value;
  let start = 0;
  while (start < old.length && start < text.length && old[start] === text[start]) start += 1;
  let tail = 0;
  const limit = Math.min(old.length, text.length) - start;
  while (tail < limit && old[old.length - 1 - tail] === text[text.length - 1 - tail]) tail += 1;
  if (splitsPair(old, start) || splitsPair(text, start)) start -= 1;
  if (splitsPair(old, old.length - tail) || splitsPair(text, text.length - tail)) tail -= 1;
  typeInto(area, start, old.length - tail, text.slice(start, text.length - tail));
}

/**
 * @param {string} text
 * @param {number} at
 */
function splitsPair(text, at) {
  return at > 0 && at < text.length && /[\udc00-\udfff]/.test(text[at]) && /[\ud800-\udbff]/.test(text[at - 1]);
}
