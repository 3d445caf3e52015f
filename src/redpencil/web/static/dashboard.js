// @ts-check
/** The dashboard stays up to date while it is looked at. */
import { byId } from "./dom.js";

const EVERY_MS = 30_000;

setInterval(() => void refresh(), EVERY_MS);
document.addEventListener("visibilitychange", () => void refresh());

/** Take the newest numbers, unless nobody looks or somebody is reading with the keyboard or has marked text. */
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
    // The server is away; what is shown stays, and the next time may succeed.
  }
}
