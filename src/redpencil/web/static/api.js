// @ts-check
/** Requests to this server, the only host that is ever asked. */

/** The server gave no answer. */
export class Offline extends Error {}

/**
 * What the server answered; `data` is null for an answer without JSON.
 * @typedef {{ok: boolean, status: number, data: any}} Answer
 */

const PATIENCE_MS = 20_000;

/**
 * @param {"GET" | "POST" | "PUT"} method
 * @param {string} path
 * @param {unknown} [body]
 * @param {{keepalive?: boolean}} [options] `keepalive`: let the request outlive the page
 * @returns {Promise<Answer>}
 * @throws {Offline} if there was no answer
 */
export async function ask(method, path, body, options = {}) {
  const csrf = document.querySelector('meta[name="csrf"]')?.getAttribute("content") ?? "";
  /** @type {Response} */
  let response;
  let text = "";
  try {
    response = await fetch(path, {
      method,
      headers: { "X-CSRF-Token": csrf, ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
      body: body === undefined ? undefined : JSON.stringify(body),
      keepalive: options.keepalive ?? false,
      signal: AbortSignal.timeout(PATIENCE_MS),
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
 * The sentence to show for an answer that is a refusal.
 * @param {Answer} answer
 */
export function problemOf(answer) {
  if (answer.status === 401)
    return "You are signed out. Open your invite link again; your text is kept in this browser.";
  const { error, way_out: wayOut } = answer.data ?? {};
  if (typeof error !== "string") return `The server refused (status ${answer.status}).`;
  return wayOut ? `${sentence(error)} ${sentence(wayOut)}` : sentence(error);
}

/**
 * With a capital letter and a full stop.
 * @param {string} text
 */
export function sentence(text) {
  if (!text) return "";
  const upper = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(upper) ? upper : `${upper}.`;
}
