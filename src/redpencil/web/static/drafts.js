// @ts-check
/**
 * Keeping a draft: in this browser at once, on the server soon after. "Saved" is only said once the server answered.
 *
 * Every save names the version that it builds on. Where the server has moved on, nothing is overwritten on either side
 * and the page asks the person.
 */
import { Offline, ask, problemOf } from "./api.js";
import { TAB, asideOf, fingerprint, forget, keep, recall, setAside } from "./kept.js";

/**
 * @typedef {import("./kept.js").Choices} Choices
 * @typedef {{assignment_id: number, external_id: string, kind: string, prompt: string, context: string,
 *   response: string, second: string | null, suggestion: string | null, version: number, draft: string,
 *   lease_until: number, active_s: number, state?: string}} Task
 * @typedef {{text: string, version: number, reason: string, problem: string}} Theirs what the server holds instead
 * @typedef {"saved" | "waiting" | "saving" | "offline" | "refused" | "conflict"} State
 * @typedef {object} Desk
 * @property {() => string} text the exact text as it stands in the page
 * @property {() => Choices} choices
 * @property {() => number} seconds
 * @property {(state: State, problem: string, kept: boolean) => void} show `kept`: this browser holds the text
 * @property {(theirs: Theirs) => void} conflict
 * @property {(text: string) => void} adopt show a text that is newer than this untouched page
 */

const PAUSE_MS = 700;
const LONGEST_WAIT_MS = 4000;
const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 20_000;

/** The keeper of one task's draft. */
export class DraftKeeper {
  /** @type {Task} */ task;
  /** @type {Desk} */ desk;
  /** @type {number} */ version;
  /** What the server is known to hold. @type {string} */ stored;
  /** @type {Promise<void> | null} */ running = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ timer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ localTimer;
  /** @type {number | null} */ waitingSince = null;
  failures = 0;
  conflicted = false;
  closed = false;
  kept = true;
  /** Fingerprints of what was sent without an answer; the server may hold it. @type {string[]} */ sent = [];

  /**
   * @param {Task} task
   * @param {Desk} desk
   */
  constructor(task, desk) {
    this.task = task;
    this.desk = desk;
    this.version = task.version;
    this.stored = task.draft;
  }

  /** Whether the page holds something that the server does not. */
  get dirty() {
    return this.desk.text() !== this.stored;
  }

  /** To be called after every change. */
  changed() {
    if (this.closed) return;
    clearTimeout(this.localTimer);
    this.localTimer = setTimeout(() => this.keepHere(), Math.min(300, this.desk.text().length / 200));
    if (this.conflicted) return;
    this.waitingSince ??= Date.now();
    this.desk.show(this.failures ? "offline" : "waiting", "", this.kept);
    this.schedule(Math.min(PAUSE_MS, Math.max(0, this.waitingSince + LONGEST_WAIT_MS - Date.now())));
  }

  /** Write down in this browser what the page holds, now. */
  keepHere() {
    clearTimeout(this.localTimer);
    if (this.closed) return;
    const { outcome, reason, tags } = this.desk.choices();
    const empty = !outcome && !reason && !Object.keys(tags).length;
    const there = recall(this.task);
    const mine = there?.by === TAB;
    if (!this.dirty && empty && !this.conflicted) {
      // What another tab has written here and the server has not is that tab's to remove.
      if (mine || there?.text === this.stored) forget(this.task);
    } else {
      const text = this.desk.text();
      const aside = asideOf(this.task);
      if (there && !mine && ![text, this.stored, ...aside].includes(there.text)) {
        setAside(this.task, [...aside, there.text]);
      }
      this.kept = keep(this.task, { text, version: this.version, sent: this.sent, choices: { outcome, reason, tags } });
    }
  }

  /** @param {number} delay */
  schedule(delay) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.save(), delay);
  }

  /**
   * Save what the page holds; after one that is under way. True if the server then has it.
   * @param {{always?: boolean}} [options] `always`: also where nothing is new, to keep the lease
   */
  async save({ always = false } = {}) {
    clearTimeout(this.timer);
    while (this.running) await this.running;
    if (this.closed || this.conflicted) return false;
    if (!this.dirty && !always) {
      this.settled();
      return true;
    }
    this.running = this.put().finally(() => {
      this.running = null;
    });
    await this.running;
    return !this.dirty && !this.conflicted;
  }

  /** Stop: the task is handed in or left. */
  close() {
    this.closed = true;
    clearTimeout(this.timer);
    clearTimeout(this.localTimer);
  }

  /** The page is going away: hand over what is left without waiting for an answer. */
  flush() {
    if (this.closed) return;
    this.keepHere();
    const text = this.desk.text();
    if (!this.dirty || this.conflicted || this.running || text.length > 20_000) return;
    ask("PUT", this.path("draft"), this.body(text), { keepalive: true }).catch(() => undefined);
  }

  /** Look whether another tab has gone on with this task, and follow it where nobody touched this page. */
  async refresh() {
    if (this.closed || this.conflicted || this.running || this.dirty) return;
    const answer = await ask("GET", `/api/assignments/${this.task.assignment_id}`).catch(() => null);
    if (!answer?.ok || this.closed || this.running || this.dirty || answer.data.version === this.version) return;
    const { draft, version, state = "open" } = answer.data;
    this.behind({ text: draft, version, reason: state === "open" ? "changed" : state, problem: "" }, true);
  }

  /**
   * Go on from another version after a conflict.
   * @param {string} text what the server holds
   * @param {number} version
   */
  resume(text, version) {
    this.stored = text;
    this.version = version;
    this.sent = [];
    this.conflicted = false;
    this.keepHere();
    if (this.dirty) this.changed();
    else this.settled();
  }

  /**
   * Whether the server may have a text from this very page, without having been able to say so.
   * @param {string} text
   */
  mayHaveSent(text) {
    return this.sent.includes(fingerprint(text));
  }

  /** @param {string} what */
  path(what) {
    return `/api/assignments/${this.task.assignment_id}/${what}`;
  }

  /** @param {string} text */
  body(text) {
    return { text, version: this.version, active_s: this.desk.seconds() };
  }

  async put() {
    const text = this.desk.text();
    const untouched = text === this.stored;
    this.waitingSince = null;
    if (!untouched) this.desk.show("saving", "", this.kept);
    let answer;
    this.sent = [...new Set([...this.sent, fingerprint(text)])];
    try {
      answer = await ask("PUT", this.path("draft"), this.body(text));
    } catch (error) {
      if (!(error instanceof Offline)) throw error;
      this.retry(untouched);
      return;
    }
    if (this.closed) return;
    if (answer.ok) {
      this.sent = [];
      this.version = answer.data.version;
      this.stored = text;
      this.settled();
    } else if (answer.status === 409) {
      this.behind(theirsOf(answer.data), untouched);
    } else {
      this.keepHere();
      this.desk.show("refused", problemOf(answer), this.kept);
      if (answer.status >= 500) this.retry(untouched);
    }
  }

  /** @param {boolean} untouched */
  retry(untouched) {
    if (this.closed) return;
    this.failures += 1;
    this.keepHere();
    if (!untouched) this.desk.show("offline", "", this.kept);
    this.schedule(Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** (this.failures - 1)));
  }

  settled() {
    this.failures = 0;
    this.keepHere();
    if (this.dirty) this.changed();
    else this.desk.show("saved", "", this.kept);
  }

  /**
   * The server holds another version. It is no conflict where nobody touched this page, or where the text is the
   * page's own: the one that it shows, or one whose answer got lost.
   * @param {Theirs} theirs
   * @param {boolean} untouched
   */
  behind(theirs, untouched) {
    const open = theirs.reason === "changed" || theirs.reason === "";
    if (open && (untouched || theirs.text === this.desk.text() || this.mayHaveSent(theirs.text))) {
      const text = this.desk.text();
      if (untouched && theirs.text !== text && text === this.stored) this.desk.adopt(theirs.text);
      this.resume(theirs.text, theirs.version);
      return;
    }
    this.conflicted = true;
    this.keepHere();
    this.desk.show("conflict", theirs.problem, this.kept);
    this.desk.conflict(theirs);
  }
}

/**
 * What an answer with status 409 holds.
 * @param {any} data
 * @returns {Theirs}
 */
export function theirsOf(data) {
  return {
    text: String(data?.text ?? ""),
    version: Number(data?.version ?? 0),
    reason: String(data?.reason ?? ""),
    problem: String(data?.error ?? ""),
  };
}
