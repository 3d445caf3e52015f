// @ts-check
/** Versions of a response that a person did not keep: set aside in this browser, with a way back. */
import { byId, make } from "./dom.js";
import { asideOf, setAside } from "./kept.js";

/** @typedef {import("./kept.js").Owner} Owner */

/**
 * Set a text aside, unless it is only the response itself.
 * @param {Owner} task
 * @param {string} text
 */
export function putAside(task, text) {
  const texts = asideOf(task);
  if (text !== task.response && !texts.includes(text)) setAside(task, [...texts, text]);
}

/**
 * Show the texts that were set aside for a task.
 * @param {Owner} task
 * @param {(text: string) => void} use puts a text into the editor
 */
export function showAside(task, use) {
  const texts = asideOf(task);
  byId("aside").hidden = texts.length === 0;
  byId("aside-list").replaceChildren(
    ...texts.map((text, i) => {
      const label = `Text ${i + 1} set aside`;
      const box = make("div", { class: "text-box", tabindex: "0", role: "group", "aria-label": label }, text);
      const discard = () => {
        setAside(task, texts.toSpliced(i, 1));
        showAside(task, use);
        (byId("aside").hidden ? byId("response") : byId("aside-list").querySelector("button"))?.focus();
      };
      return make(
        "li",
        {},
        box,
        make("button", { type: "button", onclick: () => use(text) }, "Put it into the editor"),
        make("button", { type: "button", class: "quiet", onclick: discard }, "Discard"),
      );
    }),
  );
}
