// @ts-check
/**
 * The server's own figures of an edit, asked for when the typing pauses: they are what is stored and what the limits
 * are held against. The page's preview can align a few words differently.
 */
import { ask } from "./api.js";

const PAUSE_MS = 500;

/** Texts of up to this length together are measured before they are handed in. */
const LONGEST = 200_000;

/** Follows a text and tells what the server measures. */
export class Figures {
  /** @type {(found: {kept: number, distance: number}) => void} */ show;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ timer;
  /** Counts what was followed, so that a late answer is told from the present one. */ turn = 0;
  /** @type {{original: string, text: string, kept: number, distance: number} | null} */ known = null;

  /** @param {(found: {kept: number, distance: number}) => void} show */
  constructor(show) {
    this.show = show;
  }

  /**
   * @param {string} original
   * @param {string} text as the page shows it
   * @param {() => string} exact the text with its exact line ends
   */
  follow(original, text, exact) {
    clearTimeout(this.timer);
    this.turn += 1;
    if (original.length + text.length > LONGEST) return;
    const { known, turn } = this;
    if (known?.original === original && known.text === text) this.show(known);
    else this.timer = setTimeout(() => void this.measure(original, text, exact(), turn), PAUSE_MS);
  }

  /**
   * @param {string} original
   * @param {string} text
   * @param {string} edited
   * @param {number} turn
   */
  async measure(original, text, edited, turn) {
    if (original === edited) return;
    const answer = await ask("POST", "/api/diff", { original, edited }).catch(() => null);
    if (!answer?.ok || turn !== this.turn) return;
    const { kept, distance } = answer.data;
    this.known = { original, text, kept, distance };
    this.show(this.known);
  }
}
