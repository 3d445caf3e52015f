// @ts-check
/** The list of disputes, which a decision may have led to. */
import { showTimes } from "./dom.js";
import { showSettled } from "./page.js";

showTimes();
showSettled();
