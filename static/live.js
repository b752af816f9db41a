// What others do meanwhile: one look every few seconds at how long the queues are and whether what this page shows has
// changed; a run that is worked on is looked at as often as it says. Where nobody answers, that is said, and nothing is sent.
"use strict";

{
  const EVERY = 15, LONGEST = 60, TIMEOUT = 10, AT_WORK = 60; // seconds
  const banner = document.getElementById("connection");
  const menu = document.getElementById("menu");
  let heardAt = Date.now(); // when there was an answer last
  let failures = 0;
  let isSignedOut = false;
  let isHeld = false; // a form was not sent
  let said = "";
  let isStale = false; // something changed that isn't shown yet
  let isLeaving = false;
  let known = { etag: null, depths: null, mark: null };
  let timer, looking = null, passing = null;

  // ---- asking ----

  class SignedOut extends Error {}

  async function ask(address, headers = {}) {
    const answer = await fetch(address, { headers, redirect: "manual", signal: AbortSignal.timeout(TIMEOUT * 1000) });
    if (answer.type === "opaqueredirect") throw new SignedOut();
    if (answer.status >= 500) throw new Error(String(answer.status));
    return answer;
  }

  // Null where there is no such page any more, or not for this person.
  async function askPage(address) {
    const answer = await ask(address, { "X-Looking-Again": "1" });
    if (!answer.ok) return null;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    window.forgetDrafts?.(page); // what is said once may be said to this look
    return page;
  }

  // After a refused form, the address is the form's.
  const pageHere = () => document.querySelector("[data-live-queue]")?.dataset.livePage ?? location.href;

  // How long the queues are, and what the server would call what is shown here; unchanged since the last time costs no body.
  async function askAround() {
    const shown = document.querySelector("[data-live-queue]")?.dataset;
    const asked = new URLSearchParams(shown ? { queue: shown.liveQueue } : {});
    for (const id of shown?.liveIds ? shown.liveIds.split(" ") : []) asked.append("id", id);
    const answer = await ask(`${menu.dataset.ask}?${asked}`, known.etag ? { "If-None-Match": known.etag } : {});
    if (answer.ok) {
      known = { etag: answer.headers.get("ETag"), ...await answer.json() };
      const changed = showDepths(known.depths);
      if (shown ? changed.includes(shown.liveQueue) : changed.length) isStale = true;
    }
    if (shown && known.mark && known.mark !== shown.liveMark) isStale = true;
  }

  // ---- showing ----

  // Gives those that are others than before.
  function showDepths(depths) {
    const changed = [...menu.querySelectorAll("[data-depth]")].filter((count) => count.textContent !== (depths[count.dataset.depth] ?? ""));
    for (const count of changed) {
      count.textContent = depths[count.dataset.depth] ?? "";
      count.hidden = !count.textContent;
    }
    return changed.map((count) => count.dataset.depth);
  }

  // What somebody is at work in stays as it is, and its turn comes with the next look.
  function isBusy(part) {
    const selection = getSelection();
    const isTyped = (field) => (field.matches("[type=radio], [type=checkbox]") ? field.checked !== field.defaultChecked : field.value !== field.defaultValue);
    return part.contains(document.activeElement) || part.querySelector(":popover-open, [aria-busy]")
      || [...part.querySelectorAll("input, textarea")].some(isTyped)
      || (!selection.isCollapsed && part.contains(selection.anchorNode));
  }

  function showParts(fresh) {
    isStale = false;
    for (const part of document.querySelectorAll("[data-live]")) {
      const now = fresh.getElementById(part.id);
      if (!now) showGone(part);
      else if (now.isEqualNode(part)) continue;
      else if (isBusy(part)) isStale = true;
      else {
        part.replaceWith(now);
        addCopyButtons(now);
        window.offerDrafts?.(now);
      }
    }
    const here = document.querySelector("[data-live-queue]"), there = fresh.querySelector("[data-live-queue]");
    if (here && there && !isStale) here.replaceWith(there);
    writeTimes();
  }

  // A line that the page would not have any more: its place stays, so that nothing moves under the hand. Where there was
  // nothing and now is something, the whole list is new.
  function showGone(part) {
    if (part.hasAttribute("data-until-some")) return document.activeElement.matches("input") || location.reload();
    const line = part.closest("[data-row]");
    if (!line || line.hasAttribute("data-gone")) return;
    line.setAttribute("data-gone", "");
    part.textContent = "Not on this page any more";
  }

  // A run's region is drawn anew as a whole, with the focus where it was.
  function showRun(region, fresh) {
    const now = fresh.getElementById(region.id);
    const isPressed = region.querySelector("[aria-busy]"), selection = getSelection();
    if (!now || isPressed || (!selection.isCollapsed && region.contains(selection.anchorNode))) return;
    const focused = region.contains(document.activeElement) ? document.activeElement : null;
    const key = focused && (focused.id ? `#${CSS.escape(focused.id)}` : focused.dataset.key ? `[data-key="${focused.dataset.key}"]` : "");
    region.innerHTML = now.innerHTML;
    addCopyButtons(region);
    window.offerDrafts?.(region);
    if (focused) (key && region.querySelector(key) || region).focus({ preventScroll: true });
    // Told when the state changes, not at every step.
    const said = document.querySelector("[data-watch-said]");
    if (now.dataset.says !== region.dataset.says) {
      if (said) said.textContent = now.dataset.says;
      // What was said when it began, as that it is being compared, is over.
      for (const begun of document.querySelectorAll("#main > .notice[data-tone=good]")) begun.remove();
    }
    region.dataset.says = now.dataset.says;
    if (now.dataset.watch) region.dataset.watch = now.dataset.watch;
    else delete region.dataset.watch;
    writeTimes();
  }

  // Signed in again, in another tab: the forms of this page go with the new sign-in, if it is the same person.
  async function adoptSignIn() {
    const fresh = await askPage(document.querySelector(".brand").href);
    const name = (page) => page.querySelector(".person-roles")?.title;
    if (name(fresh) !== name(document)) return location.reload();
    const token = fresh.querySelector("[name=csrf_token]").value;
    for (const field of document.querySelectorAll("[name=csrf_token]")) field.value = token;
  }

  function say() {
    const clock = new Date(heardAt).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
    const isLost = failures > 1 || (failures && (isHeld || !navigator.onLine));
    let words = isSignedOut ? "You are signed out." : isLost ? `Not connected since ${clock}; trying again.` : "";
    if (words && isHeld) words = `Not sent. ${words} What you typed stays here: send it again ${isSignedOut ? "once you are signed in" : "when this is gone"}.`;
    else if (isSignedOut) words += " What you typed stays here.";
    if (words === said) return;
    said = words;
    banner.replaceChildren();
    banner.hidePopover();
    if (!words) return;
    banner.showPopover(); // above a dialog that is open
    const notice = document.createElement("p");
    notice.className = "notice";
    notice.dataset.tone = "warn";
    notice.append(words);
    if (isSignedOut) {
      const link = document.createElement("a");
      link.href = banner.dataset.login;
      link.target = "_blank";
      link.textContent = "Sign in, in another tab";
      notice.append(" ", link);
    }
    banner.append(notice);
  }

  // ---- one look after the other ----

  // Whether there was an answer to somebody who is signed in. With `parts`, what changed is shown.
  async function look({ parts = true } = {}) {
    try {
      if (isSignedOut) await adoptSignIn();
      const run = parts && document.querySelector("[data-watch]");
      if (run) {
        const fresh = await askPage(location.href);
        if (!fresh) return location.reload();
        showRun(run, fresh);
        showDepths(Object.fromEntries([...fresh.querySelectorAll("[data-depth]")].map((count) => [count.dataset.depth, count.textContent])));
      } else {
        await askAround();
        const fresh = parts && isStale && document.querySelector("[data-live]") && await askPage(pageHere());
        if (fresh) showParts(fresh);
      }
      failures = 0;
      heardAt = Date.now();
      isSignedOut = isHeld = false;
    } catch (error) {
      if (isLeaving) return false;
      if (error instanceof SignedOut) { isSignedOut = true; heardAt = Date.now(); failures = 0; }
      else failures += 1;
    }
    say();
    return !failures && !isSignedOut;
  }

  // Somewhere around the time: after a restart, not everybody comes at once.
  function wait() {
    const run = document.querySelector("[data-watch]");
    const usual = run ? Number(run.dataset.watch) : EVERY;
    const seconds = failures ? Math.min(2 ** (failures - 1), LONGEST) * (0.5 + Math.random()) : usual * (0.9 + 0.2 * Math.random());
    clearTimeout(timer);
    timer = setTimeout(lookAgain, seconds * 1000);
  }

  // Nobody sees it: nothing to ask for, until somebody does.
  async function lookAgain() {
    clearTimeout(timer);
    if (document.hidden || looking) return;
    looking = look();
    await looking;
    looking = null;
    wait();
  }

  document.addEventListener("visibilitychange", lookAgain);
  addEventListener("online", lookAgain);
  addEventListener("offline", lookAgain);
  addEventListener("pagehide", () => { isLeaving = true; });
  addEventListener("pageshow", (event) => { isLeaving = false; if (event.persisted) lookAgain(); });
  wait();

  // ---- forms about to be sent ----

  // With the line down or the sign-in over, sending would lose the page, and what was typed with it. Asked before only where
  // there is a doubt: the last look failed, or is long ago, as after a night of the computer's.
  addEventListener("submit", async (event) => {
    const { target: form, submitter } = event;
    const isInDoubt = failures || isSignedOut || !navigator.onLine || Date.now() - heardAt > 3 * EVERY * 1000;
    if (form.method !== "post" || form === passing || !isInDoubt) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    await looking;
    if (!await look({ parts: false })) { isHeld = true; say(); return wait(); }
    passing = form;
    form.requestSubmit(submitter);
    passing = null;
  }, true);

  // ---- signs of life ----

  // Whoever does something on an item's page is still looking at it; an open page alone is no sign of life.
  let isActive = false;
  for (const sign of ["keydown", "pointerdown", "pointermove", "wheel"]) {
    document.addEventListener(sign, () => { isActive = true; }, { passive: true });
  }
  setInterval(() => {
    const claim = document.querySelector("[data-claim]");
    if (!claim || !isActive) return;
    isActive = false;
    fetch(claim.action, { method: "POST", body: new FormData(claim), redirect: "manual" }).catch(() => {});
  }, AT_WORK * 1000);
}
