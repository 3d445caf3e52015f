// @ts-check
/** A draft: saved on the server, kept in this browser, with the choices made beside the text. */
import { Offline, ask, problemOf } from "./api.js";
import { read, remove, write } from "./dom.js";
import { exactPlaces, shownPlaces } from "./text.js";

/**
 * @typedef {{assignment_id: number, kind: string, prompt: string, context: string,
 *   response: string, second: string | null, suggestion: string | null, version: number, draft: string,
 *   draft_outcome: string | null, draft_reason: string, draft_tags: Mark[],
 *   lease_left_s: number, active_s: number, state?: string, standing: "yours" | "free" | "taken" | "done"}} Task
 * @typedef {{text: string, version: number, reason: string, problem: string}} Theirs what the server holds instead
 * @typedef {"saved" | "waiting" | "saving" | "offline" | "refused" | "conflict"} State
 * @typedef {object} Desk
 * @property {() => string} text the exact text as it stands in the page
 * @property {() => Choices} choices
 * @property {() => number} seconds
 * @property {(state: State, problem: string, kept: boolean) => void} show `kept`: this browser holds the text
 * @property {(left: number) => void} holds seconds that are left of the lease; none where others have taken the task
 * @property {(theirs: Theirs) => void} conflict
 * @property {(text: string, choices: Choices) => void} adopt show what is newer than this untouched page
 * @property {(reason: string) => void} addReason another tab gave this reason meanwhile; it must not get lost
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
  /** The text that the server is known to hold. @type {string} */ stored;
  /** The name of the choices that it holds, `null` where that is not known. @type {string | null} */ chosen;
  /** @type {Promise<void> | null} */ running = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ timer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ localTimer;
  /** @type {number | null} */ waitingSince = null;
  failures = 0;
  conflicted = false;
  closed = false;
  kept = true;
  /** Fingerprints of texts that were sent without an answer; the server may hold one. @type {string[]} */ sent = [];
  /** Likewise the names of choices. @type {string[]} */ sentChoices = [];

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

  /** Whether the page holds something that the server does not. */
  get dirty() {
    return this.desk.text() !== this.stored || choicesKey(this.desk.choices()) !== this.chosen;
  }

  /** Whether something would be lost with this page: neither the server nor this browser has it. */
  onlyHere() {
    if (this.closed || (!this.dirty && !this.conflicted)) return false;
    this.keepHere();
    return !this.kept;
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
    const there = recall(this.task);
    const mine = there?.by === TAB;
    if (!this.dirty && !this.conflicted) {
      // What another tab has written here and the server has not is that tab's to remove.
      const saved = there?.text === this.stored && there.choices && choicesKey(there.choices) === this.chosen;
      if (mine || saved) forget(this.task);
      this.kept = true;
    } else {
      const text = this.desk.text();
      const aside = asideOf(this.task);
      const foreign = there && !mine && ![text, this.stored, ...aside].includes(there.text);
      // Without room for both, what another tab keeps here stays, and this page says that it must not be closed.
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
    ask("PUT", this.path("draft"), this.body(text, this.desk.choices()), { keepalive: true }).catch(() => undefined);
  }

  /** Look whether another tab has gone on with this task, and follow it where nobody touched this page. */
  async refresh() {
    if (this.closed || this.conflicted || this.running || this.dirty) return;
    const found = await this.there();
    if (!found || this.running || this.dirty || found.version === this.version) return;
    const { state = "open" } = found;
    if (state === "open") this.follow(found);
    else this.stop({ text: found.draft, version: found.version, reason: state, problem: "" });
  }

  /** The task as the server has it; null where it does not say, or nobody wants to know any more. */
  async there() {
    const answer = await ask("GET", `/api/assignments/${this.task.assignment_id}`).catch(() => null);
    return answer?.ok && !this.closed ? /** @type {Task} */ (answer.data) : null;
  }

  /**
   * Show what another tab has made of the task; nobody touched this page.
   * @param {Task} found
   */
  follow(found) {
    const choices = choicesOf(found);
    this.desk.adopt(found.draft, choices);
    this.resume(found.draft, found.version, choicesKey(choices));
  }

  /**
   * The person has chosen between two texts. What was chosen beside the text goes with it, but no reason gets lost.
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
   * Go on from another version.
   * @param {string} text what the server holds
   * @param {number} version
   * @param {string | null} [chosen] the name of the choices that it holds
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

  /**
   * @param {string} text
   * @param {Choices} choices
   */
  body(text, choices) {
    const marks = marksFor(this.task.response, choices);
    return { text, version: this.version, active_s: this.desk.seconds(), ...marks };
  }

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
   * page's own: the one that it shows, or one whose answer got lost. What this page has chosen beside the text then
   * counts, but a reason that another tab gave goes along.
   * @param {Theirs} theirs
   * @param {boolean} untouched
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
   * Save no more until the person has decided.
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

/**
 * @typedef {{start: number, end: number, tag: string}} Mark
 */

/**
 * What the server has of a task.
 * @param {Task} task
 * @returns {Choices}
 */
export function choicesOf(task) {
  const shown = shownPlaces(task.response);
  const tags = task.draft_tags.map(({ start, end, tag }) => [`${shown(start)}-${shown(end)}`, tag]);
  return { outcome: task.draft_outcome ?? "", reason: task.draft_reason, tags: Object.fromEntries(tags) };
}

/**
 * What goes to the server.
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
 * A name for choices, the same for the same ones only.
 * @param {Choices} choices
 */
function choicesKey({ outcome, reason, tags }) {
  return JSON.stringify([outcome, reason, Object.entries(tags).sort()]);
}

/**
 * @typedef {{outcome: string, reason: string, tags: Record<string, string>}} Choices
 * @typedef {{text: string, version: number, sent: string[], choices: Choices, at: number, by: string}} Kept
 * @typedef {{assignment_id: number, response: string}} Owner
 */

/** This tab: several may have one task open, and each removes only what it wrote itself. */
const TAB = Math.random().toString(36).slice(2);

const DRAFT = "redpencil draft ";
const ASIDE = "redpencil aside ";

/**
 * A short name for a text, the same for the same text only: its length and 64 bits.
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
 * The name under which a task is kept: another database at the same address has other responses.
 * @param {Owner} task
 */
function storeName(task) {
  return [document.body.dataset.person, task.assignment_id, fingerprint(task.response)].join(" ");
}

/**
 * Whether the browser could keep it.
 * @param {Owner} task
 * @param {Omit<Kept, "at" | "by">} what
 */
export function keep(task, what) {
  return write(DRAFT + storeName(task), { ...what, at: Date.now(), by: TAB });
}

/**
 * @param {Owner} task
 * @returns {Kept | null}
 */
export function recall(task) {
  const kept = read(DRAFT + storeName(task));
  return kept && typeof kept.text === "string" && typeof kept.version === "number" ? kept : null;
}

/** @param {Owner} task */
export function forget(task) {
  remove(DRAFT + storeName(task));
}

/**
 * Forget a task that is left or handed in, but not a text that another tab keeps and nobody else has.
 * @param {Owner} task
 * @param {string} text what the server has
 */
export function forgetOwn(task, text) {
  const there = recall(task);
  if (there?.by === TAB || [text, task.response, ...asideOf(task)].includes(there?.text ?? text)) forget(task);
}

/**
 * Texts that lost against another version of the same task; they stay until they are discarded.
 * @param {Owner} task
 * @returns {string[]}
 */
export function asideOf(task) {
  const texts = read(ASIDE + storeName(task));
  return Array.isArray(texts) ? texts.filter((text) => typeof text === "string") : [];
}

/**
 * @param {Owner} task
 * @param {string[]} texts
 */
export function setAside(task, texts) {
  if (texts.length) return write(ASIDE + storeName(task), texts);
  remove(ASIDE + storeName(task));
  return true;
}
