// @ts-check
/** The list of disputes. It shows that an item was settled if the decision led here. */
import { showTimes } from "./dom.js";
import { showSettled } from "./page.js";

showTimes();
showSettled();
