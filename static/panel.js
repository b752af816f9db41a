// Opens a list's row beside the list. Without it, where there is no room, and with Ctrl or Shift, the row is a plain link.
"use strict";

(() => {
  const list = document.querySelector("[data-list]");
  const panel = document.getElementById("panel");
  const body = panel.querySelector("[data-panel-body]");
  const full = panel.querySelector("[data-panel-full]");
  const said = document.getElementById("panel-said");
  const HAS_ROOM = matchMedia("(min-width: 64rem)");
  const MARK = "#open=";
  let loading = null; // the load under way, which the next one ends
  let walking = 0;

  const isOpen = () => !panel.hidden;
  const linkTo = (href) => [...list.querySelectorAll("[data-row] a")].find((link) => link.pathname === href);
  const asked = () => (location.hash.startsWith(MARK) ? location.hash.slice(MARK.length) : null);

  // ---- what is shown ----

  // The page's own content, its addresses made whole: they were relative to that page, not to the list.
  function contentOf(html, url) {
    const main = new DOMParser().parseFromString(html, "text/html").querySelector("main");
    if (!main) return null;
    for (const name of ["href", "src", "action"]) {
      for (const element of main.querySelectorAll(`[${name}]:not(use)`)) element.setAttribute(name, new URL(element.getAttribute(name), url).href);
    }
    for (const form of main.querySelectorAll("form:not([action])")) form.setAttribute("action", url);
    for (const title of main.querySelectorAll("h1")) {
      const heading = document.createElement("h2");
      heading.append(...title.childNodes);
      heading.tabIndex = -1;
      title.replaceWith(heading);
    }
    return main;
  }

  function show(content, href) {
    body.replaceChildren(...content.childNodes);
    body.scrollTop = 0;
    full.href = href;
    for (const link of list.querySelectorAll("[aria-current]")) link.removeAttribute("aria-current");
    linkTo(href)?.setAttribute("aria-current", "true");
    writeTimes();
    addCopyButtons(body);
    window.offerDrafts?.(body);
    said.textContent = `${body.querySelector("h2")?.textContent ?? "The row"} is open beside the list.`;
  }

  // Above what is shown, where there is something: what was typed into it is not lost.
  function refuse(words) {
    body.querySelector(":scope > [role=alert]")?.remove();
    const notice = document.createElement("div");
    notice.className = "notice";
    notice.dataset.tone = "bad";
    notice.setAttribute("role", "alert");
    notice.append(document.createElement("p"));
    notice.firstChild.textContent = words;
    body.prepend(notice);
    body.scrollTop = 0;
    for (const button of body.querySelectorAll("[aria-busy]")) button.removeAttribute("aria-busy");
  }

  const refusalOf = (content) => {
    const page = content.querySelector(".error-page");
    return page && [...page.querySelectorAll("h2, h2 ~ p:not([class])")].map((part) => part.textContent).join(". ");
  };

  async function load(href, options = {}) {
    loading?.abort();
    const mine = loading = new AbortController();
    panel.hidden = false;
    document.documentElement.dataset.panel = "open";
    panel.setAttribute("aria-busy", "true");
    try {
      const response = await fetch(href, { ...options, signal: mine.signal });
      const html = await response.text();
      const content = contentOf(html, response.url);
      const isSignedOut = new URL(response.url).pathname.startsWith("/console/login");
      if (!content || isSignedOut) return location.assign(options.method ? location.pathname : href);
      const refusal = options.method && refusalOf(content);
      if (refusal) refuse(refusal);
      else show(content, options.method && response.redirected ? new URL(response.url).pathname : href);
      return response;
    } catch (error) {
      if (error.name === "AbortError") return;
      refuse("Tripdesk could not be reached. Check the connection and try again.");
    } finally {
      if (mine === loading) panel.removeAttribute("aria-busy");
    }
  }

  // ---- opening and closing ----

  function open(href) {
    const mark = `${location.pathname}${location.search}${MARK}${href}`;
    if (isOpen()) history.replaceState(null, "", mark);
    else history.pushState(null, "", mark);
    load(href);
  }

  function hide() {
    loading?.abort();
    panel.hidden = true;
    delete document.documentElement.dataset.panel;
    const link = list.querySelector("[aria-current]");
    link?.removeAttribute("aria-current");
    said.textContent = "";
    body.replaceChildren();
    return link;
  }

  function close() {
    history.replaceState(null, "", `${location.pathname}${location.search}`);
    hide()?.focus();
  }

  function follow() {
    const href = asked();
    if (href && HAS_ROOM.matches && linkTo(href)) load(href);
    else if (isOpen()) hide();
  }

  // What was done to the row may have changed its line.
  async function refreshList() {
    const response = await fetch(`${location.pathname}${location.search}`);
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html").querySelector("[data-list]");
    if (!fresh) return;
    const focused = document.activeElement.closest("[data-list] a")?.pathname;
    list.replaceChildren(...fresh.childNodes);
    writeTimes();
    linkTo(asked())?.setAttribute("aria-current", "true");
    if (focused) linkTo(focused)?.focus({ preventScroll: true });
  }

  // ---- what people do ----

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || !HAS_ROOM.matches) return;
    if (link.matches("[data-up]") && panel.contains(link)) {
      event.preventDefault();
      close();
    } else if (list.contains(link) && link.closest("[data-row]")) {
      event.preventDefault();
      if (isOpen() && link.hasAttribute("aria-current")) body.querySelector("h2")?.focus();
      else open(link.pathname);
    }
  });

  // With the panel open, walking through the rows shows each where the walk rests.
  list.addEventListener("focusin", (event) => {
    const link = event.target.closest("[data-row] a");
    clearTimeout(walking);
    if (!link || !isOpen() || link.hasAttribute("aria-current")) return;
    walking = setTimeout(() => { if (isOpen() && document.activeElement === link) open(link.pathname); }, 150);
  });

  panel.querySelector("[data-panel-close]").addEventListener("click", close);

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !isOpen() || event.target.matches("input, select, textarea")) return;
    if (!document.querySelector(":popover-open")) close();
  });

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (event.defaultPrevented || !panel.contains(form) || form.method !== "post") return;
    event.preventDefault();
    form.closest("[popover]")?.hidePopover();
    const response = await load(form.action, { method: "POST", body: new FormData(form, event.submitter) });
    if (response?.redirected) await refreshList();
  });

  addEventListener("popstate", follow);
  follow();
})();
