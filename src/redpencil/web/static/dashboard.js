// @ts-check
/** The dashboard, which is refreshed while it is visible. */
import { byId } from "./dom.js";

const EVERY_MS = 30_000;

setInterval(() => void refresh(), EVERY_MS);
document.addEventListener("visibilitychange", () => void refresh());

/** Fetch the newest numbers, unless the page is hidden, has selected text, or the focus is in the numbers. */
async function refresh() {
  const live = byId("live");
  const marked = getSelection()?.toString() !== "";
  if (document.hidden || marked || live.contains(document.activeElement)) return;
  try {
    const response = await fetch(location.pathname, { credentials: "same-origin" });
    if (!response.ok || response.redirected) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = page.getElementById("live");
    if (fresh) live.replaceWith(document.importNode(fresh, true));
  } catch {
    // Without an answer the old numbers stay until the next attempt.
  }
}
