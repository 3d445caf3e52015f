// @ts-check
/**
 * Show characters that are not seen as what they are: with RIGHT-TO-LEFT OVERRIDE a text can look like another one, ZERO
 * WIDTH SPACE is not seen at all, and a Cyrillic letter in a Latin word looks like a Latin one. Each gets a label beside
 * it and an element of its own, which ends its effect. The text of the page, and all places in it, stay the same.
 * `visible` in report/markup.py has the same ones.
 */

const SELECTORS = "[\\ufe00-\\ufe0f\\u{e0100}-\\u{e01ef}]";
const HIDDEN = new RegExp(
  "(" +
    "[\\u202a-\\u202e\\u2066-\\u2069" + // the direction of writing
    // What has no width, or looks like a space.
    "\\u00ad\\u115f\\u1160\\u180e\\u200b\\u2060-\\u2064\\u206a-\\u206f\\u3164\\ufeff\\uffa0\\ufff9-\\ufffb\\u{e0000}-\\u{e007f}]" +
    // Joiners beside Latin letters or nothing: other scripts and emoji need them.
    "|(?<![^\\0-\\u024f])[\\u200c\\u200d]|[\\u200c\\u200d](?![^\\0-\\u024f])" +
    `|(?<=${SELECTORS})${SELECTORS}` + // one selects a variant of a character, more of them select nothing
    // Letters of other scripts that look like the Latin ones beside them.
    "|(?:(?<=[A-Za-z])|(?=.[A-Za-z]))" +
    "[\\u0391\\u0392\\u0395-\\u0397\\u0399\\u039a\\u039c\\u039d\\u039f\\u03a1\\u03a4\\u03a5\\u03a7\\u03bf" +
    "\\u0405\\u0406\\u0408\\u0410\\u0412\\u0415\\u041a\\u041c-\\u041e\\u0420-\\u0423\\u0425" +
    "\\u0430\\u0435\\u043e\\u0440\\u0441\\u0443\\u0445\\u0455\\u0456\\u0458\\u04bb\\u0501\\u051b\\u051d]" +
    ")",
  "u",
);

/**
 * Name a character by its number, such as U+202E.
 * @param {string} character
 */
function nameOf(character) {
  return `U+${/** @type {number} */ (character.codePointAt(0)).toString(16).toUpperCase().padStart(4, "0")}`;
}

/**
 * Label the characters in all texts below a node.
 * @param {Node} node
 */
function label(node) {
  if (node.nodeType === Node.TEXT_NODE) {
    split(/** @type {Text} */ (node));
    return;
  }
  const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) if (HIDDEN.test(walker.currentNode.nodeValue ?? "")) found.push(walker.currentNode);
  for (const text of found) split(/** @type {Text} */ (text));
}

/**
 * Put each such character of a text into an element of its own. The title of the page and the options of a list hold no
 * elements: there its number takes its place.
 * @param {Text} text
 */
function split(text) {
  const parent = text.parentElement;
  if (!parent || !HIDDEN.test(text.data) || parent.closest(".control, textarea, script, style")) return;
  const parts = text.data.split(HIDDEN); // every second one is such a character
  if (parent.closest("title, option")) {
    text.data = parts.map((part, index) => (index % 2 ? `[${nameOf(part)}]` : part)).join("");
    return;
  }
  text.replaceWith(
    ...parts
      .map((part, index) => {
        if (index % 2 === 0) return part;
        const element = document.createElement("bdi");
        element.className = "control";
        element.dataset.name = nameOf(part);
        element.textContent = part;
        return element;
      })
      .filter((part) => part !== ""),
  );
}

for (const title of document.getElementsByTagName("title")) label(title);
label(document.body);
new MutationObserver((changes) => {
  for (const { target, addedNodes } of changes) for (const node of addedNodes.length ? addedNodes : [target]) label(node);
}).observe(document.body, { childList: true, subtree: true, characterData: true });
