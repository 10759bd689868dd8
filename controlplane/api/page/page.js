// Shows the page anew each few seconds without moving it. Without this the page
// does the same by itself, and jumps.
"use strict";
const every = 5000;
let times = 0;

async function refresh() {
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelector("main").replaceWith(fresh.querySelector("main"));
    document.documentElement.dataset.refreshed = ++times;
    delete document.documentElement.dataset.lost;
  } catch (problem) {
    document.documentElement.dataset.lost = problem.message;
    document.querySelector("#age").textContent = "the daemon does not answer";
  }
  setTimeout(refresh, every);
}

setTimeout(refresh, every);
