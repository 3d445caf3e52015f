// @ts-check
/** The page for the project's settings, imports and log. */
import { Offline, ask, problemOf, sentence } from "./api.js";
import { byId, counted, make, showTimes } from "./dom.js";

showTimes();

const OFFLINE = "The server does not answer. Nothing was changed; try again.";
const UPLOAD_PATIENCE_MS = 10 * 60_000;
const MOST_SHOWN = 20;
const PERCENT = ["kept_soft", "kept_hard", "known_answer_share"];
const settings = /** @type {HTMLFormElement} */ (byId("settings"));
const upload = /** @type {HTMLFormElement} */ (byId("import"));

const field = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (byId(id));

/**
 * Return the number in a field; null if it is empty.
 * @param {string} id
 */
function number(id) {
  const value = field(id).value.trim();
  return value === "" ? null : Number(value);
}

/** Return the settings as the server takes them: shares instead of percent, seconds instead of minutes. */
function values() {
  const checked = settings.querySelectorAll('input[name="reason_required_for"]:checked');
  /** @type {Record<string, unknown>} */
  const all = {
    title: field("title").value,
    guidelines: field("guidelines").value,
    tags: field("tags").value.split("\n").map((tag) => tag.trim()).filter(Boolean),
    distance_soft: number("distance_soft"),
    distance_hard: number("distance_hard"),
    editors_per_item: number("editors_per_item"),
    lease_s: Math.round((number("lease_s") ?? 0) * 6000) / 100,
    suggestions: field("suggestions").checked,
    reason_required_for: [...checked].map((box) => /** @type {HTMLInputElement} */ (box).value),
  };
  for (const name of PERCENT) all[name] = Math.round((number(name) ?? 0) * 100) / 10_000;
  return all;
}

/**
 * Show a problem next to its field; "" hides all problems.
 * @param {string} name
 * @param {string} problem
 */
function showProblem(name, problem) {
  for (const place of settings.querySelectorAll(".problem")) /** @type {HTMLElement} */ (place).hidden = true;
  for (const input of settings.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  if (!problem) return;
  const own = document.getElementById(`${name.split(".")[0]}-problem`) ?? byId("settings-problem");
  own.textContent = problem;
  own.hidden = false;
  const input = document.getElementById(name.split(".")[0]);
  input?.setAttribute("aria-invalid", "true");
  (input ?? byId("save")).focus();
}

settings.addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("saved").textContent = "";
  try {
    const answer = await ask("PUT", "/api/project", { ...values(), version: settings.dataset.version });
    showProblem(answer.data?.field ?? "", answer.ok ? "" : problemOf(answer));
    if (answer.ok) {
      settings.dataset.version = answer.data.version;
      byId("saved").textContent = "Saved.";
    }
  } catch (error) {
    if (!(error instanceof Offline)) throw error;
    showProblem("", OFFLINE);
  }
});
settings.addEventListener("input", () => {
  byId("saved").textContent = "";
});

byId("kind").addEventListener("change", () => {
  for (const part of /** @type {NodeListOf<HTMLElement>} */ (upload.querySelectorAll("[data-kind]")))
    part.hidden = part.dataset.kind !== field("kind").value;
});

upload.addEventListener("submit", async (event) => {
  event.preventDefault();
  const parts = new FormData();
  for (const input of /** @type {NodeListOf<HTMLInputElement>} */ (upload.querySelectorAll("input[type=file]")))
    if (input.files?.length && !input.closest("[hidden]")) parts.append(input.name, input.files[0]);
  byId("imported").textContent = "Importing…";
  const problem = await send(parts);
  if (problem) byId("imported").textContent = "";
  byId("import-problem").textContent = problem;
  byId("import-problem").hidden = !problem;
});

/**
 * Import files and show the result.
 * @param {FormData} parts
 * @returns {Promise<string>} the problem to show, or ""
 */
async function send(parts) {
  byId("left-out").replaceChildren();
  try {
    const answer = await ask("POST", "/api/import", parts, { patience: UPLOAD_PATIENCE_MS });
    if (!answer.ok) return problemOf(answer);
    showImported(answer.data);
    return "";
  } catch (error) {
    if (!(error instanceof Offline)) throw error;
    return "The server does not answer. Import the file again: what is already there is not added twice.";
  }
}

/**
 * Show what was imported and what was left out.
 * @typedef {{added: number, known: number, changed: number, empty: number, refused: {id: string, problem: string}[],
 *   warnings: string[], by_prompt: number}} Imported
 * @param {Imported} imported
 */
function showImported({ added, known, changed, empty, refused, warnings, by_prompt }) {
  const told = [`${added} added`];
  if (known) told.push(`${known} were here already`);
  if (changed) told.push(`${changed} left out, since another text has their id`);
  if (empty) told.push(`${empty} left out, since they are empty`);
  if (by_prompt) told.push(`${counted(by_prompt, "pair")} matched by prompt, since their ids differ`);
  if (refused.length) told.push(`${refused.length} left out, since they could not be handed in`);
  byId("imported").textContent = `${told.join(", ")}.`;
  const those = refused.slice(0, MOST_SHOWN).map(({ id, problem }) => `${id}: ${problem}`);
  if (refused.length > MOST_SHOWN) those.push(`and ${counted(refused.length - MOST_SHOWN, "other")}`);
  byId("left-out").replaceChildren(...[...those, ...warnings.map(sentence)].map((line) => make("li", {}, line)));
}

byId("earlier").addEventListener("click", async () => {
  const last = byId("log").lastElementChild;
  const before = last instanceof HTMLElement ? last.dataset.id : "";
  try {
    const answer = await ask("GET", `/api/events?before=${before}&limit=100`);
    if (!answer.ok) return;
    byId("log").append(...answer.data.map(row));
    byId("earlier").hidden = answer.data.length < 100;
    showTimes(byId("log"));
  } catch (error) {
    if (!(error instanceof Offline)) throw error;
  }
});

/**
 * Create a row of the log.
 * @param {{id: number, at: number, person: string | null, action: string, item_id: number | null, detail: Record<string, unknown>}} event
 */
function row(event) {
  const told = Object.entries(event.detail).map(([key, value]) => `${key.replaceAll("_", " ")}: ${[value].flat().join(", ")}`);
  return make(
    "tr",
    { "data-id": event.id },
    make("td", {}, make("time", { "data-at": event.at })),
    make("td", {}, event.person ?? "–"),
    make("td", {}, event.action, event.item_id ? make("small", {}, `item ${event.item_id}`) : null),
    make("td", {}, told.join(", ")),
  );
}
