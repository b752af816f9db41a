// What is written at length survives a reload, a closed tab and a session that ended: it is kept in this browser, under
// the person, the form's address and the field, until the server says that it was saved, or they sign out.
"use strict";

(() => {
  const PREFIX = "draft:";
  const PAUSE = 400; // ms without a key
  const LIFETIME = 7 * 24 * 3600 * 1000;
  const LONGEST = 40000; // characters of one form
  const MOST = 50; // forms
  const person = document.body.dataset.person;
  const waiting = new Map(); // forms that somebody types in, and the timer that keeps what they typed
  const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
  const date = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  if (document.documentElement.dataset.storage === "off") return;

  // ---- which fields, and what they held when the page came ----

  const addressOf = (form) => new URL(form.getAttribute("action") || location.href, location.href).pathname;
  const keyOf = (form) => `${PREFIX}${person}:${addressOf(form)}`;
  const isKept = (form) => form.method === "post" && !form.matches("[data-no-drafts]");
  // Of most forms the long texts; of a record's form, which is long itself, everything that is typed or chosen.
  const LONG = "textarea[name]";
  const ALL = `${LONG}, select[name], input[name]:is([type="text"], [type="email"], [type="tel"])`;
  const fieldsOf = (form) => [...form.querySelectorAll(form.matches("[data-drafts]") ? ALL : LONG)];
  // The version that the form was opened at: with it a draft goes on from what its writer saw, not from what is there now.
  const versionOf = (form) => form.querySelector("[data-drafts] > [name=seen]");
  const initial = (field) => (field.matches("select") ? [...field.options].find((option) => option.defaultSelected)?.value ?? field.options[0]?.value : field.defaultValue);

  // ---- keeping ----

  function keys() {
    return Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));
  }

  function read(key) {
    try {
      return JSON.parse(localStorage.getItem(key));
    } catch {
      return null; // not one of ours, or cut off: it is swept below
    }
  }

  function keep(form) {
    clearTimeout(waiting.get(form));
    waiting.delete(form);
    const fields = {};
    // A form that was refused came back as it was sent: there, what the page came with is typed as well.
    for (const field of fieldsOf(form)) if (form.matches("[data-typed]") || field.value !== initial(field)) fields[field.name] = field.value;
    const text = JSON.stringify({ at: Date.now(), seen: versionOf(form)?.value, fields });
    if (!Object.keys(fields).length || text.length > LONGEST) return localStorage.removeItem(keyOf(form));
    try {
      localStorage.setItem(keyOf(form), text);
    } catch {
      // The browser has no room left for us: there is no draft, and everything else goes on.
    }
  }

  function sweep() {
    const found = keys().map((key) => [key, read(key)?.at ?? 0]).sort((one, other) => other[1] - one[1]);
    for (const [index, [key, at]] of found.entries()) if (index >= MOST || Date.now() - at > LIFETIME) localStorage.removeItem(key);
  }

  // What the server says of forms that were sent, and of who signed out.
  window.forgetDrafts = (within) => {
    for (const told of within.querySelectorAll("[data-saved]")) localStorage.removeItem(`${PREFIX}${person}:${told.dataset.saved}`);
    for (const told of within.querySelectorAll("[data-signed-out]")) {
      for (const key of keys()) if (key.startsWith(`${PREFIX}${told.dataset.signedOut}:`)) localStorage.removeItem(key);
    }
  };

  // ---- giving back ----

  function note(form, draft, changed) {
    const at = new Date(draft.at);
    const isToday = at.toDateString() === new Date().toDateString();
    const seen = versionOf(form);
    const now = seen?.value;
    const isOlder = Boolean(seen) && draft.seen !== now;
    const line = document.createElement("p");
    line.className = "draft";
    line.setAttribute("role", "status");
    line.textContent = `Draft from ${(isToday ? clock : date).format(at)} restored${isOlder ? "; others saved something since, which saving keeps" : ""} · `;
    const discard = document.createElement("button");
    discard.type = "button";
    discard.className = "link-button";
    discard.textContent = "Discard";
    if (isOlder) seen.value = draft.seen;
    discard.addEventListener("click", () => {
      for (const field of changed) field.value = initial(field);
      if (seen) seen.value = now;
      localStorage.removeItem(keyOf(form));
      line.remove();
      changed[0].focus();
    });
    line.append(discard);
    if (form.matches("[data-drafts]")) form.prepend(line);
    else changed[0].after(line);
  }

  function offer(form) {
    const draft = form.matches("[data-typed]") ? null : read(keyOf(form));
    if (!draft?.fields) return;
    const changed = fieldsOf(form).filter((field) => draft.fields[field.name] !== undefined && draft.fields[field.name] !== initial(field));
    for (const field of changed) field.value = draft.fields[field.name];
    if (changed.length) note(form, draft, changed);
  }

  window.offerDrafts = (within) => {
    window.forgetDrafts(within);
    if (person) for (const form of within.querySelectorAll("form")) if (isKept(form)) offer(form);
  };

  // ---- what people do ----

  document.addEventListener("input", ({ target }) => {
    const { form } = target;
    if (!person || !form || !isKept(form) || !fieldsOf(form).includes(target)) return;
    clearTimeout(waiting.get(form));
    waiting.set(form, setTimeout(keep, PAUSE, form));
  });
  addEventListener("pagehide", () => { for (const form of [...waiting.keys()]) keep(form); });
  document.addEventListener("visibilitychange", () => { if (document.hidden) for (const form of [...waiting.keys()]) keep(form); });

  sweep();
  window.offerDrafts(document);
})();
