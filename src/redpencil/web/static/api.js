// @ts-check
/** Requests to the server that served this page; no other host is contacted. */

/** Thrown when a request gets no answer. */
export class Offline extends Error {}

/**
 * An answer of the server. `data` is null if the body is not JSON.
 * @typedef {{ok: boolean, status: number, data: any}} Answer
 */

const PATIENCE_MS = 20_000;

/**
 * @typedef {"GET" | "POST" | "PUT"} Method
 * @typedef {{keepalive?: boolean, patience?: number}} Options `keepalive`: the request continues after the
 *   page is closed; `patience`: timeout in milliseconds
 */

/**
 * Send a request. If the CSRF token is outdated because the same person has signed in again in another tab, fetch the
 * current token and send the request once more.
 * @param {Method} method
 * @param {string} path
 * @param {unknown} [body] a `FormData`, or a value to send as JSON
 * @param {Options} [options]
 * @returns {Promise<Answer>}
 * @throws {Offline} if there is no answer
 */
export async function ask(method, path, body, options = {}) {
  const answer = await send(method, path, body, options);
  if (answer.status !== 403 || method === "GET" || options.keepalive) return answer;
  const now = await send("GET", "/api/me", undefined, {});
  if (!now.ok) return answer;
  if (String(now.data.id) !== document.body.dataset.person) return { ...answer, data: SOMEBODY_ELSE };
  return renewToken(now.data.csrf) ? send(method, path, body, options) : answer;
}

const SOMEBODY_ELSE = {
  error: "Another person has since signed in in this browser",
  hint: "Open your own invite link again; your text is kept in this browser",
};

/**
 * Replace this page's CSRF token. Returns false if the token was current already.
 * @param {string} csrf
 */
function renewToken(csrf) {
  const held = document.querySelector('meta[name="csrf"]');
  if (!held || held.getAttribute("content") === csrf) return false;
  held.setAttribute("content", csrf);
  for (const input of document.querySelectorAll('input[name="csrf"]')) input.setAttribute("value", csrf);
  return true;
}

/**
 * Send one request with the page's CSRF token.
 * @param {Method} method
 * @param {string} path
 * @param {unknown} body
 * @param {Options} options
 * @returns {Promise<Answer>}
 */
async function send(method, path, body, options) {
  const csrf = document.querySelector('meta[name="csrf"]')?.getAttribute("content") ?? "";
  const isJson = body !== undefined && !(body instanceof FormData);
  /** @type {Response} */
  let response;
  let text = "";
  try {
    response = await fetch(path, {
      method,
      headers: { "X-CSRF-Token": csrf, ...(isJson ? { "Content-Type": "application/json" } : {}) },
      body: body instanceof FormData ? body : isJson ? JSON.stringify(body) : undefined,
      keepalive: options.keepalive ?? false,
      signal: AbortSignal.timeout(options.patience ?? PATIENCE_MS),
      credentials: "same-origin",
    });
    text = await response.text();
  } catch (error) {
    throw new Offline(String(error));
  }
  if (response.status >= 502 && response.status <= 504) throw new Offline(`status ${response.status}`);
  return { ok: response.ok, status: response.status, data: parsed(text) };
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * Return the message to show for an answer that is an error.
 * @param {Answer} answer
 */
export function problemOf(answer) {
  if (answer.status === 401)
    return "You are signed out. Open your invite link again; your text is kept in this browser.";
  const { error, hint } = answer.data ?? {};
  if (typeof error !== "string") return `The server refused (status ${answer.status}).`;
  return hint ? `${sentence(error)} ${sentence(hint)}` : sentence(error);
}

/**
 * Make a text start with a capital letter and end with a full stop.
 * @param {string} text
 */
export function sentence(text) {
  if (!text) return "";
  const upper = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(upper) ? upper : `${upper}.`;
}
