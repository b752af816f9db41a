// A page that looks again by itself: what stands in [data-watch] is fetched anew after as many seconds, until it says no more.
"use strict";

const LONGEST_WAIT = 30;
let failures = 0;

function swap(region, fresh) {
  const focused = region.contains(document.activeElement) ? document.activeElement : null;
  const key = focused && (focused.id ? `#${CSS.escape(focused.id)}` : focused.dataset.key ? `[data-key="${focused.dataset.key}"]` : "");
  region.innerHTML = fresh.innerHTML;
  if (focused) (key && region.querySelector(key) || region).focus({ preventScroll: true });
  // Told when the state changes, not at every step.
  const said = document.querySelector("[data-watch-said]");
  if (said && fresh.dataset.says !== region.dataset.says) said.textContent = fresh.dataset.says;
  region.dataset.says = fresh.dataset.says;
  if (fresh.dataset.watch) region.dataset.watch = fresh.dataset.watch;
  else delete region.dataset.watch;
  writeTimes();
}

async function look(region) {
  const answer = await fetch(location.href, { credentials: "same-origin" });
  if (answer.redirected || answer.status === 401 || answer.status === 403) return location.reload();
  if (!answer.ok) throw new Error(`${answer.status}`);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  window.forgetDrafts?.(page); // what is said once may be said to this look
  // Somebody is about to press one of its buttons, or selects text of it: the next look is soon.
  const isBusy = region.querySelector("[aria-busy]") || (!getSelection().isCollapsed && region.contains(getSelection().anchorNode));
  if (!isBusy) swap(region, page.getElementById(region.id));
}

async function keepCurrent(region) {
  let wait = Number(region.dataset.watch);
  // Nobody sees it: nothing to ask for.
  if (!document.hidden) {
    try {
      await look(region);
      failures = 0;
    } catch (error) {
      failures += 1;
      wait = Math.min(2 ** failures, LONGEST_WAIT);
    }
    document.getElementById("connection").hidden = failures === 0;
  }
  if (region.dataset.watch) setTimeout(keepCurrent, wait * 1000, region);
}

for (const region of document.querySelectorAll("[data-watch]")) setTimeout(keepCurrent, Number(region.dataset.watch) * 1000, region);
