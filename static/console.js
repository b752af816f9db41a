// What the pages gain in a browser with JavaScript: times in the person's zone, keys, theme, copying. None of it is needed.
"use strict";

const root = document.documentElement;
const store = {
  get: (name) => (root.dataset.storage === "off" ? null : localStorage.getItem(name)),
  set: (name, value) => { if (root.dataset.storage !== "off") localStorage.setItem(name, value); },
};

// ---- times: the same steps as relative() in app/console/formatting.py ----

const exactTime = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });
const shortTime = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const dayTime = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
// en-GB alone writes September with four letters; the server, and every other month, has three.
const inMonths = (format, at) => format.format(at).replace("Sept", "Sep");
const MINUTE = 60, HOUR = 3600, DAY = 86400, WEEK = 7 * DAY;

function relative(at, now) {
  const past = at <= now;
  const seconds = Math.abs(now - at) / 1000;
  if (seconds >= WEEK) return inMonths(dayTime, at) + (at.getFullYear() === now.getFullYear() ? "" : ` ${at.getFullYear()}`);
  if (seconds < MINUTE) return past ? "just now" : "in under a minute";
  const days = Math.floor(seconds / DAY);
  const text = seconds >= DAY ? `${days} ${days === 1 ? "day" : "days"}`
    : seconds >= HOUR ? `${Math.floor(seconds / HOUR)} h`
    : `${Math.floor(seconds / MINUTE)} min`;
  return past ? `${text} ago` : `in ${text}`;
}

function writeTimes() {
  const now = new Date();
  const showExact = store.get("times") === "exact";
  for (const element of document.querySelectorAll("time.when")) {
    const at = new Date(element.dateTime);
    const text = showExact ? inMonths(shortTime, at) + (at.getFullYear() === now.getFullYear() ? "" : ` ${at.getFullYear()}`) : relative(at, now);
    if (element.textContent !== text) element.textContent = text;
    element.title = inMonths(exactTime, at);
  }
}

// ---- theme ----

const THEMES = ["system", "light", "dark"];

function nameTheme(button) {
  const theme = root.dataset.theme || "system";
  button.title = theme === "system" ? "Theme: as the system" : `Theme: ${theme}`;
}

function switchTheme(button) {
  const next = THEMES[(THEMES.indexOf(root.dataset.theme || "system") + 1) % THEMES.length];
  if (next === "system") delete root.dataset.theme;
  else root.dataset.theme = next;
  store.set("theme", next);
  nameTheme(button);
}

// ---- copying ----

function addCopyButtons(within = document) {
  if (!navigator.clipboard) return;
  for (const source of within.querySelectorAll("[data-copy]")) {
    const text = source.textContent;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "link-button copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    source.after(button);
  }
}

// ---- keys ----

let afterG = 0;

function focusSearch() {
  const field = document.querySelector("[data-list-search]") || document.querySelector("[data-search]");
  if (!field) return false;
  field.focus();
  field.select();
  return true;
}

function moveRow(step) {
  // Rows that lead nowhere, as a day's sums above its differences, are passed over.
  const rows = [...document.querySelectorAll("[data-row]")].filter((row) => row.querySelector("a"));
  if (!rows.length) return false;
  const here = rows.indexOf(document.activeElement.closest("[data-row]"));
  const next = here < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(here + step, 0), rows.length - 1);
  rows[next].querySelector("a").focus({ preventScroll: true });
  rows[next].scrollIntoView({ block: "nearest" });
  return true;
}

// The days that can be chosen follow each other, a week is a line.
function moveDay(key) {
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -7, ArrowDown: 7 }[key];
  const days = [...document.querySelectorAll("[data-day]")];
  const here = days.indexOf(document.activeElement);
  const next = step && here >= 0 ? days[here + step] : null;
  if (next) next.focus();
  return Boolean(next);
}

// ---- queues: picking lines, and deciding on them ----

const bulk = document.querySelector("[data-bulk]");
const picks = bulk ? [...bulk.querySelectorAll("[name=id]")] : [];
let lastPick = -1;

// Each decision can be pressed when one of the picked lines offers it.
function showPicked() {
  const picked = picks.filter((box) => box.checked);
  const bar = bulk.querySelector("[data-bulk-bar]");
  if (!bar) return;
  bar.hidden = !picked.length;
  bar.querySelector("[data-picked]").textContent = `${picked.length} picked`;
  for (const button of bar.querySelectorAll("[name=decision]")) {
    button.disabled = !picked.some((box) => box.dataset.offers.split(" ").includes(button.value));
  }
  const all = bulk.querySelector("[data-pick-all]");
  all.checked = picked.length === picks.length;
  all.indeterminate = picked.length > 0 && !all.checked;
}

function pickHere() {
  return picks.indexOf(document.activeElement.closest("[data-row]")?.querySelector("[name=id]"));
}

function pickRow(range) {
  const here = pickHere();
  if (here < 0) return false;
  const from = range && lastPick >= 0 ? Math.min(lastPick, here) : here;
  const to = range && lastPick >= 0 ? Math.max(lastPick, here) : here;
  const wanted = range || !picks[here].checked;
  for (const box of picks.slice(from, to + 1)) box.checked = wanted;
  lastPick = here;
  showPicked();
  return true;
}

// What is picked, or else the line one is on.
function decide(letter) {
  const button = bulk?.querySelector(`[data-bulk-key="${letter}"]`);
  if (!button || bulk.querySelector("[aria-busy]")) return false;
  const here = pickHere();
  const first = picks.findIndex((box) => box.checked);
  if (first < 0 && here < 0) return false;
  if (first < 0) picks[here].checked = true;
  showPicked();
  if (button.disabled) return false;
  bulk.requestSubmit(button);
  return true;
}

// On to the line that took the place of the one decided on, or from the day just chosen; not away from where somebody is.
function goOn() {
  if (document.activeElement !== document.body) return;
  const [, line] = location.hash.match(/^#line-(\d+)$/) || [];
  const rows = [...document.querySelectorAll("[data-row]")];
  if (line && rows.length) rows[Math.min(Number(line), rows.length - 1)].querySelector("a")?.focus();
  if (location.hash === "#calendar") [...document.querySelectorAll("[data-chosen] [data-day]")].pop()?.focus();
}

// ---- undo ----

function endUndo() {
  for (const form of document.querySelectorAll("[data-until]")) {
    const left = new Date(form.dataset.until) - Date.now();
    setTimeout(() => { form.hidden = true; form.querySelector("[data-key]").removeAttribute("data-key"); }, Math.max(left, 0));
  }
}

function press(selector) {
  const target = document.querySelector(selector);
  if (!target) return false;
  target.focus({ preventScroll: true }); // where the focus goes back to from the dialog that this may open
  target.click();
  return true;
}

function onKey(event) {
  const { key, target } = event;
  const typing = target.matches("input:not([type=radio], [type=checkbox]), select, textarea");
  if (key === "k" && (event.ctrlKey || event.metaKey)) {
    const field = document.querySelector("[data-search]");
    if (field) { event.preventDefault(); field.focus(); field.select(); }
    return;
  }
  if (key === "Escape" && typing && !target.closest("[popover]")) return target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const choice = /^[1-9]$/.test(key) && document.querySelector(`:is(.dialog:popover-open, main > .form) [data-pick="${key}"]`);
  if (choice) { choice.checked = true; choice.focus(); return event.preventDefault(); }
  if (document.querySelector(".dialog:popover-open")) return;
  const letter = /^[a-z0-9]$/.test(key) ? key : "";
  let done = false;
  if (letter && Date.now() - afterG < 1000) done = press(`[data-go="${letter}"]`);
  else if (letter && (press(`[data-key="${letter}"]`) || decide(letter))) done = true;
  else if (key === "/") done = focusSearch();
  else if (key === "?") done = press("[popovertarget=keys]");
  else if (key === "j") done = press("[data-next]") || moveRow(1);
  else if (key === "k") done = press("[data-previous]") || moveRow(-1);
  else if (key === "x" || key === "X") done = pickRow(key === "X");
  else if (key === "u") done = press("[data-up]");
  else if (key.startsWith("Arrow")) done = moveDay(key);
  else if (key === "t") {
    store.set("times", store.get("times") === "exact" ? "relative" : "exact");
    writeTimes();
    done = true;
  }
  afterG = key === "g" && !done ? Date.now() : 0;
  if (done) event.preventDefault();
}

// ---- pointer and forms ----

function onClick(event) {
  const { target } = event;
  const themeSwitch = target.closest("[data-theme-switch]");
  if (themeSwitch) return switchTheme(themeSwitch);
  if (target.closest("[data-back]")) return history.back();
  const fill = target.closest("[data-fill]");
  if (fill) {
    document.getElementById(fill.dataset.fill).value = fill.dataset.value;
    document.getElementById("field-password").focus();
    return;
  }
  // A click anywhere in a row opens it, unless it hit a control or ended a selection of text.
  const row = target.closest("[data-row]");
  if (row && !target.closest("a, button, input, select, label") && getSelection().isCollapsed) {
    const link = row.querySelector("a");
    if (link && (event.ctrlKey || event.metaKey)) open(link.href, "_blank", "noopener");
    else if (link) link.click();
  }
}

// A second press while the first is under way would only be refused; the button says so instead.
function onSubmit(event) {
  const button = event.submitter;
  if (event.target.method !== "post" || !button) return;
  if (button.hasAttribute("aria-busy")) return event.preventDefault();
  button.setAttribute("aria-busy", "true");
}

// What can't be taken back is confirmed by typing what it is done to; the server looks as well.
function judgeTyped(field) {
  const isRight = field.value.trim().toLowerCase() === field.dataset.mustBe.toLowerCase();
  field.setCustomValidity(isRight ? "" : `Type ${field.dataset.mustBe} to confirm`);
}

document.addEventListener("keydown", onKey);
document.addEventListener("input", ({ target }) => { if (target.matches("[data-must-be]")) judgeTyped(target); });
if (bulk) {
  bulk.addEventListener("change", (event) => {
    if (event.target.matches("[data-pick-all]")) for (const box of picks) box.checked = event.target.checked;
    else lastPick = picks.indexOf(event.target);
    showPicked();
  });
  bulk.addEventListener("reset", () => setTimeout(showPicked));
  bulk.addEventListener("submit", () => { bulk.elements.line.value = Math.max(0, picks.findIndex((box) => box.checked)); });
}
document.addEventListener("click", onClick);
document.addEventListener("submit", onSubmit);
addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("[aria-busy]")) button.removeAttribute("aria-busy");
  if (bulk) showPicked();
  // A frame later: following the address to its fragment takes the focus away, and is put off to the first frame where the
  // preloaded font is late.
  requestAnimationFrame(goOn);
  document.querySelector("[data-reopen]")?.click();
  document.querySelector('[aria-invalid="true"]')?.focus();
});
document.querySelectorAll("[data-theme-switch]").forEach(nameTheme);
addCopyButtons();
writeTimes();
endUndo();
setInterval(writeTimes, 20000);
