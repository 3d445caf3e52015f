// @ts-check
/**
 * Show characters that set the direction of writing, such as RIGHT-TO-LEFT OVERRIDE: with them a text can look like
 * another one. Each gets a label beside it and an element of its own, which ends its effect. The text of the page, and
 * all places in it, stay the same.
 */

const CONTROL = /[\u202a-\u202e\u2066-\u2069]/;

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
  while (walker.nextNode()) if (CONTROL.test(walker.currentNode.nodeValue ?? "")) found.push(walker.currentNode);
  for (const text of found) split(/** @type {Text} */ (text));
}

/**
 * Put each such character of a text into an element of its own.
 * @param {Text} text
 */
function split(text) {
  const parent = text.parentElement;
  if (!parent || !CONTROL.test(text.data) || parent.closest(".control, textarea, script, style, title, option")) return;
  const parts = text.data.split(/([\u202a-\u202e\u2066-\u2069])/).filter(Boolean);
  text.replaceWith(
    ...parts.map((part) => {
      if (!CONTROL.test(part)) return part;
      const element = document.createElement("bdi");
      element.className = "control";
      element.dataset.name = `U+${part.charCodeAt(0).toString(16).toUpperCase()}`;
      element.textContent = part;
      return element;
    }),
  );
}

label(document.body);
new MutationObserver((changes) => {
  for (const { target, addedNodes } of changes) for (const node of addedNodes.length ? addedNodes : [target]) label(node);
}).observe(document.body, { childList: true, subtree: true, characterData: true });
