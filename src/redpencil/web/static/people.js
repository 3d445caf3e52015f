// @ts-check
/** The page for inviting people, renewing their links and revoking them. */
import { Offline, ask, problemOf } from "./api.js";
import { byId, showTimes } from "./dom.js";

showTimes();

const field = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (byId(id));
const sure = /** @type {HTMLDialogElement} */ (byId("sure"));
const change = /** @type {HTMLDialogElement} */ (byId("change"));

/**
 * Send a request and return the answer's data, or the problem to show.
 * @param {"POST" | "PUT"} method
 * @param {string} path
 * @param {unknown} [body]
 * @returns {Promise<{data: any, problem: string}>}
 */
async function request(method, path, body) {
  try {
    const answer = await ask(method, path, body);
    return answer.ok ? { data: answer.data, problem: "" } : { data: null, problem: problemOf(answer) };
  } catch (error) {
    if (!(error instanceof Offline)) throw error;
    return { data: null, problem: "The server does not answer. Nothing was changed; try again." };
  }
}

/**
 * Show a problem in an element; "" hides it.
 * @param {string} id
 * @param {string} problem
 */
function show(id, problem) {
  byId(id).textContent = problem;
  byId(id).hidden = !problem;
}

/**
 * Show an invite link, selected for copying.
 * @param {{person: {name: string}, link: string}} invitation
 */
function showLink(invitation) {
  byId("link").hidden = false;
  byId("link-name").textContent = invitation.person.name;
  byId("copied").textContent = "";
  field("link-text").value = invitation.link;
  field("link-text").focus();
  field("link-text").select();
}

byId("invite").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { data, problem } = await request("POST", "/api/people", { name: field("name").value, role: field("role").value });
  show("name-problem", problem);
  field("name").setAttribute("aria-invalid", String(Boolean(problem)));
  if (!data) {
    field("name").focus();
    return;
  }
  field("name").value = "";
  showLink(data);
  await refreshTable();
});

byId("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(field("link-text").value);
    byId("copied").textContent = "Copied.";
  } catch {
    field("link-text").select();
    const copied = document.execCommand("copy");
    byId("copied").textContent = copied ? "Copied." : "The link is selected: copy it with Ctrl+C.";
  }
});

document.addEventListener("click", (event) => {
  const button = event.target instanceof Element ? event.target.closest("button") : null;
  const { change: id, renew, revoke, name = "", role = "" } = button?.dataset ?? {};
  if (id) openChange(id, name, role);
  if (renew) question(`A new link for ${name}?`, "The old link stops working, and they are signed out everywhere.", "Make a new link", async () => {
    const { data, problem } = await request("POST", `/api/people/${renew}/invite`);
    if (data) showLink(data);
    return problem;
  });
  if (revoke) question(`Revoke ${name}?`, "Their link and their sessions end at once. Their work is kept.", "Revoke", async () =>
    (await request("POST", `/api/people/${revoke}/revoke`)).problem,
  );
});

/**
 * Open the dialog that changes a person's name and role.
 * @param {string} id
 * @param {string} name
 * @param {string} role
 */
function openChange(id, name, role) {
  change.dataset.person = id;
  field("change-name").value = name;
  field("change-role").value = role;
  show("change-problem", "");
  change.showModal();
}

byId("change-no").addEventListener("click", () => change.close());
byId("change-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const wanted = { name: field("change-name").value, role: field("change-role").value };
  const { problem } = await request("PUT", `/api/people/${change.dataset.person}`, wanted);
  show("change-problem", problem);
  if (problem) return;
  change.close();
  await refreshTable();
});

/**
 * Ask before an action that cannot be undone.
 * @param {string} heading
 * @param {string} note
 * @param {string} yes
 * @param {() => Promise<string>} act returns the problem to show, or ""
 */
function question(heading, note, yes, act) {
  byId("sure-question").textContent = heading;
  byId("sure-note").textContent = note;
  byId("sure-yes").textContent = yes;
  show("sure-problem", "");
  byId("sure-yes").onclick = async () => {
    const problem = await act();
    show("sure-problem", problem);
    if (problem) return;
    sure.close();
    if (!byId("link").hidden) field("link-text").focus();
    await refreshTable();
  };
  sure.showModal();
  byId("sure-no").focus();
}

byId("sure-no").addEventListener("click", () => sure.close());

/** Replace the table by the current one. */
async function refreshTable() {
  const response = await fetch(location.pathname, { credentials: "same-origin" });
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = page.querySelector("table.people tbody");
  if (!response.ok || !fresh) {
    location.reload();
    return;
  }
  document.querySelector("table.people tbody")?.replaceWith(document.importNode(fresh, true));
  showTimes();
}
