// The search box over any page: what is typed is looked up while typing, and opened by keyboard. Without it, the field
// above every page leads to /console/search, which finds the same.
"use strict";

{
  const palette = document.getElementById("palette");
  const field = palette.querySelector("input");
  const list = document.getElementById("palette-found");
  const said = document.getElementById("palette-said");
  const asPage = palette.querySelector(".palette-end a");
  const WAIT = 120; // ms; most people type a letter faster
  let timer, asking, awaited = null, shown = null;

  const options = () => [...list.querySelectorAll("[role=option]")];
  const active = () => list.querySelector("[aria-selected=true]");

  function choose(option) {
    active()?.setAttribute("aria-selected", "false");
    option?.setAttribute("aria-selected", "true");
    option?.scrollIntoView({ block: "nearest" });
    if (option) field.setAttribute("aria-activedescendant", option.id);
    else field.removeAttribute("aria-activedescendant");
  }

  function say(words) {
    said.textContent = words;
    said.hidden = !words;
  }

  // The buttons of the page behind, by the beginnings of their words; of an empty field, all of them.
  function onThisPage(typed) {
    const parts = typed.toLowerCase().split(/\s+/).filter(Boolean);
    const label = (button) => button.firstChild.textContent.trim();
    const buttons = [...document.querySelectorAll(".actions button:not([popovertargetaction], .dialog *)")].filter((button) => {
      const words = label(button).toLowerCase().split(/\s+/);
      return parts.every((part) => words.some((word) => word.startsWith(part)));
    });
    if (!buttons.length) return null;
    const group = document.createElement("div");
    const title = document.createElement("div");
    group.setAttribute("role", "group");
    group.setAttribute("aria-labelledby", title.id = "found-here");
    title.className = "hits-title";
    title.setAttribute("role", "presentation");
    title.textContent = "On this page";
    group.append(title, ...buttons.map((button, number) => {
      const option = document.createElement("div");
      option.className = "hit";
      option.id = `here-${number}`;
      option.setAttribute("role", "option");
      option.setAttribute("aria-selected", "false");
      const name = document.createElement("span");
      name.className = "hit-title";
      name.textContent = label(button);
      option.append(name);
      // What acts without asking first is only gone to: one more Enter does it.
      option.press = () => { palette.close(); button.focus(); if (button.hasAttribute("popovertarget")) button.click(); };
      return option;
    }));
    return group;
  }

  function show(typed, html) {
    const found = new DOMParser().parseFromString(html, "text/html").body;
    const words = found.querySelector("[data-said]");
    words?.remove();
    const here = onThisPage(typed);
    // Something typed whole comes first; what can be done here, before names and pages that only begin alike.
    list.replaceChildren(...(here ? [here] : []), ...found.children);
    const any = options();
    list.hidden = !any.length;
    field.setAttribute("aria-expanded", String(Boolean(any.length)));
    say(words && !here ? words.textContent : "");
    choose(typed ? any[0] : null);
    list.scrollTop = 0;
    shown = typed;
    if (awaited === typed) { awaited = null; go(); }
  }

  async function look() {
    const typed = field.value.trim();
    asPage.href = palette.dataset.url + (typed ? `?q=${encodeURIComponent(typed)}` : "");
    asking?.abort();
    asking = new AbortController();
    try {
      const answer = await fetch(`${palette.dataset.url}?part=1&q=${encodeURIComponent(typed)}`, { signal: asking.signal, headers: { Accept: "text/html" } });
      if (answer.redirected) return location.reload(); // signed out meanwhile: the page itself says so
      if (!answer.ok) throw new Error(String(answer.status));
      show(typed, await answer.text());
    } catch (error) {
      if (error.name === "AbortError") return;
      list.replaceChildren();
      list.hidden = true;
      awaited = null;
      say("This can't be looked up right now. Try again in a moment.");
    }
  }

  function go() {
    const option = active();
    if (option?.press) option.press();
    else if (option) option.click();
    else if (field.value.trim()) field.form.submit();
  }

  function open() {
    if (palette.open) return field.select();
    palette.showModal();
    field.select();
    look();
  }

  if (/Mac|iPhone|iPad/.test(navigator.platform)) document.querySelector("[data-search] ~ kbd").textContent = "⌘K";
  document.addEventListener("click", (event) => {
    const above = event.target.closest("[data-search]");
    if (!above) return;
    event.preventDefault();
    open();
  });
  // Before the page's own keys (static/console.js), which rest while the box is open.
  addEventListener("keydown", (event) => {
    const { key, target } = event;
    const typing = target.matches("input:not([type=radio], [type=checkbox]), select, textarea");
    const free = !typing && !event.altKey && !document.querySelector(".dialog:popover-open, [data-list-search]");
    const isOurs = key.toLowerCase() === "k" ? event.ctrlKey || event.metaKey : key === "/" && free && !event.ctrlKey && !event.metaKey;
    if (isOurs && !(key === "/" && palette.open)) { event.preventDefault(); open(); }
    if (isOurs || (palette.open && !palette.contains(target))) event.stopImmediatePropagation();
  }, true);
  palette.addEventListener("keydown", (event) => event.stopPropagation());
  palette.addEventListener("click", (event) => {
    if (event.target === palette) return palette.close(); // beside the box
    event.target.closest(".hit")?.press?.();
  });
  list.addEventListener("pointermove", (event) => {
    const option = event.target.closest("[role=option]");
    if (option && option !== active()) choose(option);
  });
  field.addEventListener("input", () => {
    awaited = null;
    clearTimeout(timer);
    timer = setTimeout(look, WAIT);
  });
  field.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const all = options();
      const here = all.indexOf(active());
      const step = event.key === "ArrowDown" ? 1 : -1;
      if (all.length) choose(all[here < 0 ? (step > 0 ? 0 : all.length - 1) : (here + step + all.length) % all.length]);
    } else if (event.key === "Enter") {
      event.preventDefault();
      const typed = field.value.trim();
      // What stands there may be the answer to an earlier word: the right one is opened once it is there.
      if (shown === typed) go();
      else { awaited = typed; clearTimeout(timer); look(); }
    } else if (event.key === "Escape") {
      event.preventDefault();
      palette.close();
    }
  });
  addEventListener("pagehide", () => palette.close()); // not open when one comes back
  palette.addEventListener("close", () => { asking?.abort(); clearTimeout(timer); awaited = null; });
}
