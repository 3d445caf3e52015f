// @ts-check
/**
 * Drafts: the text and the choices made beside it. A draft is stored in this browser at once and on the server soon
 * after. The page shows "Saved" only when the server has answered.
 *
 * Every save names the version that it is based on. If the server has another one, neither is overwritten and the page
 * asks the person.
 */
import { Offline, ask, problemOf } from "./api.js";
import { read, remove, write } from "./dom.js";
import { exactPlaces, shownPlaces } from "./text.js";

/**
 * @typedef {{assignment_id: number, kind: string, prompt: string, context: string,
 *   response: string, second: string | null, suggestion: string | null, version: number, draft: string,
 *   draft_outcome: string | null, draft_reason: string, draft_tags: Mark[],
 *   lease_left_s: number, active_s: number, state?: string, standing: "yours" | "free" | "taken" | "done"}} Task
 * @typedef {{text: string, version: number, reason: string, problem: string}} Theirs the draft on the server
 * @typedef {"saved" | "waiting" | "saving" | "offline" | "refused" | "conflict"} State
 * @typedef {{outcome: string, reason: string, tags: Record<string, string>}} Choices what the page holds; the keys of
 *   the tags are ranges "start-end" of the original as a textarea holds it
 * @typedef {{start: number, end: number, tag: string}} Mark a tag as the server holds it: a range of the exact original
 * @typedef {{text: string, version: number, sent: string[], choices: Choices, at: number, by: string}} Kept the copy in
 *   this browser
 * @typedef {{assignment_id: number, response: string}} Owner
 *
 * @typedef {object} Desk the page that shows the task
 * @property {() => string} text returns the exact text
 * @property {() => Choices} choices
 * @property {() => number} seconds returns the time worked
 * @property {(state: State, problem: string, kept: boolean) => void} show `kept`: this browser has a copy of the text
 * @property {(left: number) => void} holds receives the seconds left of the lease; 0 if others have taken the task
 * @property {(theirs: Theirs) => void} conflict
 * @property {(text: string, choices: Choices) => void} adopt replaces an untouched page's content by a newer version
 * @property {(reason: string) => void} addReason adds a reason that was given in another tab
 */

const PAUSE_MS = 700;
const LONGEST_WAIT_MS = 4000;
const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 20_000;

/** Saves the draft of one task. */
export class DraftKeeper {
  /** @type {Task} */ task;
  /** @type {Desk} */ desk;
  /** @type {number} */ version;
  /** The text on the server. @type {string} */ stored;
  /** The key of the choices on the server; `null` if unknown. @type {string | null} */ chosen;
  /** @type {Promise<void> | null} */ running = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ timer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ localTimer;
  /** @type {number | null} */ waitingSince = null;
  failures = 0;
  conflicted = false;
  closed = false;
  kept = true;
  /** Fingerprints of texts sent without an answer; the server may have one of them. @type {string[]} */ sent = [];
  /** The same for keys of choices. @type {string[]} */ sentChoices = [];

  /**
   * @param {Task} task
   * @param {Desk} desk
   */
  constructor(task, desk) {
    this.task = task;
    this.desk = desk;
    this.version = task.version;
    this.stored = task.draft;
    this.chosen = choicesKey(choicesOf(task));
  }

  /** Whether the page has something that the server does not. */
  get dirty() {
    return this.desk.text() !== this.stored || choicesKey(this.desk.choices()) !== this.chosen;
  }

  /** Tell whether closing the page would lose something, because neither the server nor this browser has it. */
  onlyHere() {
    if (this.closed || (!this.dirty && !this.conflicted)) return false;
    this.keepHere();
    return !this.kept;
  }

  /** Schedule saving. The page calls this after every change. */
  changed() {
    if (this.closed) return;
    clearTimeout(this.localTimer);
    this.localTimer = setTimeout(() => this.keepHere(), Math.min(300, this.desk.text().length / 200));
    if (this.conflicted) return;
    this.waitingSince ??= Date.now();
    this.desk.show(this.failures ? "offline" : "waiting", "", this.kept);
    this.schedule(Math.min(PAUSE_MS, Math.max(0, this.waitingSince + LONGEST_WAIT_MS - Date.now())));
  }

  /** Store a copy in this browser, unless the server has everything. */
  keepHere() {
    clearTimeout(this.localTimer);
    if (this.closed) return;
    const { outcome, reason, tags } = this.desk.choices();
    const there = recall(this.task);
    const mine = there?.by === TAB;
    if (!this.dirty && !this.conflicted) {
      // A copy by another tab that the server does not have is left for that tab to remove.
      const saved = there?.text === this.stored && there.choices && choicesKey(there.choices) === this.chosen;
      if (mine || saved) forget(this.task);
      this.kept = true;
    } else {
      const text = this.desk.text();
      const aside = asideOf(this.task);
      const foreign = there && !mine && ![text, this.stored, ...aside].includes(there.text);
      // Without room for both, the other tab's copy stays, and this page warns against closing it.
      if (foreign && !setAside(this.task, [...aside, there.text])) this.kept = false;
      else
        this.kept = keep(this.task, {
          text,
          version: this.version,
          sent: this.sent,
          choices: { outcome, reason, tags },
        });
    }
  }

  /**
   * Save after a delay.
   * @param {number} delay
   */
  schedule(delay) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.save(), delay);
  }

  /**
   * Save the draft, once any running save has finished. Returns whether the server then has everything.
   * @param {{always?: boolean}} [options] `always`: save even if nothing has changed, to renew the lease
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

  /** Stop saving, because the task was handed in or left. */
  close() {
    this.closed = true;
    clearTimeout(this.timer);
    clearTimeout(this.localTimer);
  }

  /** Save what is unsaved as the page goes away, without waiting for an answer. */
  flush() {
    if (this.closed) return;
    this.keepHere();
    const text = this.desk.text();
    if (!this.dirty || this.conflicted || this.running || text.length > 20_000) return;
    ask("PUT", this.path("draft"), this.body(text, this.desk.choices()), { keepalive: true }).catch(() => undefined);
  }

  /** Check whether another tab has changed the draft, and show its version if this page has no changes. */
  async refresh() {
    if (this.closed || this.conflicted || this.running || this.dirty) return;
    const found = await this.there();
    if (!found || this.running || this.dirty || found.version === this.version) return;
    const { state = "open" } = found;
    if (state === "open") this.follow(found);
    else this.stop({ text: found.draft, version: found.version, reason: state, problem: "" });
  }

  /** Fetch the task from the server; null without an answer or if the task was left meanwhile. */
  async there() {
    const answer = await ask("GET", `/api/assignments/${this.task.assignment_id}`).catch(() => null);
    return answer?.ok && !this.closed ? /** @type {Task} */ (answer.data) : null;
  }

  /**
   * Replace the content of this page, which has no changes, by another tab's version.
   * @param {Task} found
   */
  follow(found) {
    const choices = choicesOf(found);
    this.desk.adopt(found.draft, choices);
    this.resume(found.draft, found.version, choicesKey(choices));
  }

  /**
   * Continue with the text that the person has chosen in a conflict. The choices come with the text, but the reasons of
   * both versions are kept.
   * @param {Theirs} theirs
   * @param {"mine" | "theirs"} choice
   */
  async resolve(theirs, choice) {
    const found = await this.there();
    if (this.closed) return;
    const [mine, other] = [this.desk.choices(), found && choicesOf(found)];
    if (choice === "theirs") this.desk.adopt(theirs.text, other ?? mine);
    const left = choice === "theirs" ? mine.reason : other?.reason;
    if (left) this.desk.addReason(left);
    this.resume(theirs.text, theirs.version);
  }

  /**
   * Continue from another version.
   * @param {string} text the text on the server
   * @param {number} version
   * @param {string | null} [chosen] the key of the choices on the server
   */
  resume(text, version, chosen = null) {
    this.stored = text;
    this.version = version;
    this.chosen = chosen;
    this.sent = [];
    this.sentChoices = [];
    this.conflicted = false;
    this.keepHere();
    if (this.dirty) this.changed();
    else this.settled();
  }

  /**
   * Tell whether the server may have received a text from this page although its answer was lost.
   * @param {string} text
   */
  mayHaveSent(text) {
    return this.sent.includes(fingerprint(text));
  }

  /**
   * Return the address of an operation on this assignment.
   * @param {string} what
   */
  path(what) {
    return `/api/assignments/${this.task.assignment_id}/${what}`;
  }

  /**
   * Return the body of a request that saves the draft.
   * @param {string} text
   * @param {Choices} choices
   */
  body(text, choices) {
    const marks = marksFor(this.task.response, choices);
    return { text, version: this.version, active_s: this.desk.seconds(), ...marks };
  }

  /** Send the draft and handle the answer. */
  async put() {
    const text = this.desk.text();
    const choices = this.desk.choices();
    const untouched = !this.dirty;
    this.waitingSince = null;
    if (!untouched) this.desk.show("saving", "", this.kept);
    let answer;
    this.sent = [...new Set([...this.sent, fingerprint(text)])];
    this.sentChoices = [...new Set([...this.sentChoices, choicesKey(choices)])];
    try {
      answer = await ask("PUT", this.path("draft"), this.body(text, choices));
    } catch (error) {
      if (!(error instanceof Offline)) throw error;
      this.retry(untouched);
      return;
    }
    if (this.closed) return;
    if (answer.ok) {
      this.sent = [];
      this.sentChoices = [];
      this.version = answer.data.version;
      this.stored = text;
      this.chosen = choicesKey(choices);
      this.desk.holds(answer.data.lease_left_s);
      this.settled();
    } else if (answer.status === 409) {
      await this.behind(theirsOf(answer.data), untouched);
    } else {
      this.keepHere();
      this.desk.show("refused", problemOf(answer), this.kept);
      if (answer.status >= 500) this.retry(untouched);
    }
  }

  /**
   * Save again later, with growing delays.
   * @param {boolean} untouched whether the page had nothing to save
   */
  retry(untouched) {
    if (this.closed) return;
    this.failures += 1;
    this.keepHere();
    if (!untouched) this.desk.show("offline", "", this.kept);
    this.schedule(Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** (this.failures - 1)));
  }

  /** Continue after a successful save. */
  settled() {
    this.failures = 0;
    this.keepHere();
    if (this.dirty) this.changed();
    else this.desk.show("saved", "", this.kept);
  }

  /**
   * Handle another version on the server. It is not a conflict if this page has no changes, or if the server's text
   * comes from this page: it is the text shown, or one that was saved although the answer was lost. In that case this
   * page's choices win, but a reason given in another tab is added.
   * @param {Theirs} theirs
   * @param {boolean} untouched whether the page had nothing to save
   */
  async behind(theirs, untouched) {
    const open = theirs.reason === "changed" || theirs.reason === "";
    if (!open) return this.stop(theirs);
    if (untouched || theirs.text === this.desk.text() || this.mayHaveSent(theirs.text)) {
      const found = await this.there();
      if (this.closed) return;
      if (!found || found.version !== theirs.version) return this.retry(untouched);
      if (untouched && !this.dirty) return this.follow(found);
      const choices = choicesOf(found);
      if (choices.reason && !this.sentChoices.includes(choicesKey(choices))) this.desk.addReason(choices.reason);
      return this.resume(theirs.text, theirs.version, choicesKey(choices));
    }
    this.stop(theirs);
  }

  /**
   * Stop saving until the person has decided.
   * @param {Theirs} theirs
   */
  stop(theirs) {
    this.conflicted = true;
    this.keepHere();
    this.desk.show("conflict", theirs.problem, this.kept);
    this.desk.conflict(theirs);
  }
}

/**
 * Read the server's draft from an answer with status 409.
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

/**
 * Return the choices that the server has for a task.
 * @param {Task} task
 * @returns {Choices}
 */
export function choicesOf(task) {
  const shown = shownPlaces(task.response);
  const tags = task.draft_tags.map(({ start, end, tag }) => [`${shown(start)}-${shown(end)}`, tag]);
  return { outcome: task.draft_outcome ?? "", reason: task.draft_reason, tags: Object.fromEntries(tags) };
}

/**
 * Convert choices to the form that the server takes.
 * @param {string} response
 * @param {Choices} choices
 * @returns {{outcome: string | null, reason: string, tags: Mark[]}}
 */
export function marksFor(response, { outcome, reason, tags }) {
  const exact = exactPlaces(response);
  const marks = Object.entries(tags).map(([key, tag]) => {
    const [start, end] = key.split("-").map(Number);
    return { start: exact(start), end: exact(end), tag };
  });
  return { outcome: outcome || null, reason, tags: marks };
}

/**
 * Return a string that is equal for equal choices only.
 * @param {Choices} choices
 */
function choicesKey({ outcome, reason, tags }) {
  return JSON.stringify([outcome, reason, Object.entries(tags).sort()]);
}

/** Identifies this tab. Several tabs may show one task, and each removes only its own copy. */
const TAB = Math.random().toString(36).slice(2);

const DRAFT = "redpencil draft ";
const ASIDE = "redpencil aside ";

/**
 * Return a short fingerprint of a text: its length and a hash of 64 bits.
 * @param {string} text
 */
export function fingerprint(text) {
  let [a, b] = [2166136261, 40389];
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    a = Math.imul(a ^ code, 16777619);
    b = Math.imul(b ^ code, 2654435761) + (b >>> 13);
  }
  return [text.length, a >>> 0, b >>> 0].map((number) => number.toString(36)).join(".");
}

/**
 * Return the name under which a task is stored. It includes the response, since another database may have been served
 * at this address.
 * @param {Owner} task
 */
function storeName(task) {
  return [document.body.dataset.person, task.assignment_id, fingerprint(task.response)].join(" ");
}

/**
 * Store a copy of a draft in this browser. Returns whether there was room.
 * @param {Owner} task
 * @param {Omit<Kept, "at" | "by">} what
 */
function keep(task, what) {
  return write(DRAFT + storeName(task), { ...what, at: Date.now(), by: TAB });
}

/**
 * Return this browser's copy of a draft.
 * @param {Owner} task
 * @returns {Kept | null}
 */
export function recall(task) {
  const kept = read(DRAFT + storeName(task));
  return kept && typeof kept.text === "string" && typeof kept.version === "number" ? kept : null;
}

/**
 * Remove this browser's copy of a draft.
 * @param {Owner} task
 */
function forget(task) {
  remove(DRAFT + storeName(task));
}

/**
 * Remove the copy of a task that was left or handed in, unless another tab wrote it and its text exists nowhere else.
 * @param {Owner} task
 * @param {string} text the text on the server
 */
export function forgetOwn(task, text) {
  const there = recall(task);
  if (there?.by === TAB || [text, task.response, ...asideOf(task)].includes(there?.text ?? text)) forget(task);
}

/**
 * Return the texts that were set aside in favour of another version; they stay until they are discarded.
 * @param {Owner} task
 * @returns {string[]}
 */
export function asideOf(task) {
  const texts = read(ASIDE + storeName(task));
  return Array.isArray(texts) ? texts.filter((text) => typeof text === "string") : [];
}

/**
 * Store the texts that are set aside for a task. Returns whether there was room.
 * @param {Owner} task
 * @param {string[]} texts
 */
export function setAside(task, texts) {
  if (texts.length) return write(ASIDE + storeName(task), texts);
  remove(ASIDE + storeName(task));
  return true;
}
