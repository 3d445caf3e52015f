// @ts-check
/** Times as the reader's own clock and calendar show them. */

/** @param {ParentNode} [within] */
export function showTimes(within = document) {
  for (const place of /** @type {NodeListOf<HTMLTimeElement>} */ (within.querySelectorAll("time[data-at]"))) {
    const date = new Date(Number(place.dataset.at) * 1000);
    place.dateTime = date.toISOString();
    place.textContent = date.toLocaleString([], { dateStyle: "medium", timeStyle: "day" in place.dataset ? undefined : "short" });
  }
}

showTimes();
