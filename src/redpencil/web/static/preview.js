// @ts-check
/** The rendered Markdown of the text, made by the server, which lets no markup of the text itself through. */
import { Offline, ask, problemOf } from "./api.js";
import { byId } from "./dom.js";

/** The two views beside the text: what was changed, and how it reads. */
export class Views {
  /** @type {() => string} */ text;
  /** @type {string | null} */ shown = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ timer;

  /** @param {() => string} text */
  constructor(text) {
    this.text = text;
    const tabs = this.tabs();
    tabs.forEach((tab, i) => {
      tab.addEventListener("click", () => this.select(i));
      tab.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        this.select((i + step + tabs.length) % tabs.length);
        this.tabs()[(i + step + tabs.length) % tabs.length].focus();
      });
    });
  }

  /** @returns {HTMLElement[]} */
  tabs() {
    return [byId("tab-redline"), byId("tab-preview")];
  }

  /** @param {number} index */
  select(index) {
    this.tabs().forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === index));
      tab.tabIndex = i === index ? 0 : -1;
      byId(tab.getAttribute("aria-controls") ?? "").hidden = i !== index;
    });
    if (index === 1) void this.render();
  }

  /** From one view to the other. */
  toggle() {
    this.select(byId("preview").hidden ? 1 : 0);
  }

  /** To be called after every change. */
  changed() {
    if (byId("preview").hidden) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.render(), 400);
  }

  async render() {
    const text = this.text();
    if (text === this.shown) return;
    const place = byId("preview");
    try {
      const answer = await ask("POST", "/api/preview", { text });
      if (text !== this.text()) return;
      if (!answer.ok) place.textContent = problemOf(answer);
      else {
        const page = new DOMParser().parseFromString(answer.data.html, "text/html");
        place.replaceChildren(...[...page.body.childNodes].map((node) => document.importNode(node, true)));
        this.shown = text;
      }
    } catch (error) {
      if (!(error instanceof Offline)) throw error;
      place.textContent = "The server does not answer; the preview comes back with it.";
    }
  }
}
