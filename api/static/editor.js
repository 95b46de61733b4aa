// Saves the text of a report while somebody types, and says whether it is saved.
//
// A save names the text that it was made from (If-Match), so two readers cannot overwrite each other:
// whoever comes second sees both texts and decides. Nothing is kept in this browser: a PC of a
// reading room is shared, and must not keep patients. So what is typed is sent at once, what could
// not be sent is sent again until the server has it, and leaving before that asks first.
"use strict";

(() => {
  const form = document.getElementById("text");
  if (!form || form.dataset.locked) return;

  const PAUSE = 600; // without a key for so long, it is saved
  const LONGEST = 3_000; // who types on is saved so often
  const AGAIN = 1_500; // a save that failed is tried again
  const LIMIT = 8_000; // a server that needs longer for an answer hangs
  const fields = { findings: form.elements.findings, impression: form.elements.impression };
  const status = document.getElementById("saved");
  const conflict = document.getElementById("conflict");
  const differences = document.querySelector("#differences > div");
  const checks = document.getElementById("checks");
  const house = document.getElementById("house");
  const address = `/api/studies/${form.dataset.study}/working-text`;
  const owner = document.querySelector(".who a")?.textContent.trim() ?? "";

  let etag = form.dataset.etag;
  let token = document.querySelector('meta[name="form-token"]')?.content ?? "";
  let saved = texts(); // what the server has
  let timer = 0;
  let firstUnsaved = 0;
  let isSaving = false;
  let isDecided = true; // false while somebody must choose between two texts
  let isLeaving = false; // the form itself is being sent

  function texts() {
    return { findings: fields.findings.value, impression: fields.impression.value };
  }

  function isSame(first, second) {
    return first.findings === second.findings && first.impression === second.impression;
  }

  function isUnsaved() {
    return !isSame(texts(), saved);
  }

  function clock() {
    return new Date().toLocaleTimeString([], { hour12: false });
  }

  function say(text, isFault = false) {
    if (status.textContent !== text) status.textContent = text;
    status.classList.toggle("fault", isFault);
  }

  function plan(milliseconds) {
    clearTimeout(timer);
    timer = setTimeout(save, milliseconds);
  }

  function typed() {
    if (!isUnsaved()) return;
    if (!firstUnsaved) firstUnsaved = Date.now();
    if (isDecided) {
      if (!status.classList.contains("fault")) say("Not saved yet.");
      plan(Math.max(0, Math.min(PAUSE, firstUnsaved + LONGEST - Date.now())));
    }
  }

  // After a new login the page has the old form token. Another person's login must not sign what
  // this one typed.
  async function renewToken() {
    const answer = await fetch("/account", { signal: AbortSignal.timeout(LIMIT), cache: "no-store" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const name = page.querySelector(".who a")?.textContent.trim() ?? "";
    const fresh = page.querySelector('meta[name="form-token"]')?.content ?? "";
    if (!fresh) return "you are logged out. Log in in another window, and it is saved";
    if (name !== owner) return `${name} is logged in now. Copy what you wrote`;
    if (fresh === token) return "this account may not write here";
    token = fresh;
    return "";
  }

  async function save() {
    clearTimeout(timer);
    if (isSaving || !isDecided || !isUnsaved()) return;
    isSaving = true;
    const sent = texts();
    let fault = "";
    try {
      const by = form.elements.by ? { by: form.elements.by.value } : {};
      const response = await fetch(address, {
        method: "PUT",
        headers: { "content-type": "application/json", "if-match": etag, "x-form-token": token },
        body: JSON.stringify({ ...sent, ...by }),
        signal: AbortSignal.timeout(LIMIT),
        cache: "no-store",
      });
      const answer = await response.json();
      if (response.ok) {
        saved = sent;
        keep(response.headers.get("etag"), answer);
        firstUnsaved = 0;
        say(`Saved ${clock()}.`);
        showWhatIsSaid();
      } else if (response.status === 412) {
        ask(response.headers.get("etag"), answer.current);
      } else if (response.status === 401 || response.status === 403) {
        fault = await renewToken();
      } else {
        fault = answer.title ?? `the server answers ${response.status}`;
        fault = fault[0].toLowerCase() + fault.slice(1);
      }
    } catch {
      fault = "the server does not answer";
    }
    isSaving = false;
    if (fault) say(`Not saved: ${fault}. It is tried again.`, true);
    if (isDecided && isUnsaved()) plan(fault ? AGAIN : PAUSE);
  }

  function keep(newEtag, text) {
    etag = newEtag;
    form.elements.version.value = text.version;
    form.elements.draft.value = text.draft;
    form.elements.style.value = text.style ?? "";
  }

  // --- Two readers ---

  function element(name, text, parent) {
    const made = document.createElement(name);
    made.textContent = text;
    parent.append(made);
    return made;
  }

  function ask(newEtag, current) {
    isDecided = false;
    say("Not saved: somebody else saved another text.", true);
    conflict.replaceChildren();
    element("h3", `${current.saved_by || "Somebody"} saved another text meanwhile`, conflict);
    for (const name of ["findings", "impression"]) {
      element("h4", name === "findings" ? "Findings" : "Impression", conflict);
      element("p", current[name] || "(none)", conflict).className = "text";
    }
    const buttons = element("div", "", conflict);
    buttons.className = "buttons";
    const theirs = element("button", "Take this text", buttons);
    const mine = element("button", "Keep mine in its place", buttons);
    for (const button of [theirs, mine]) button.type = "button";
    mine.className = "second";
    theirs.addEventListener("click", () => {
      const given = texts();
      fill(current);
      decide(newEtag, current);
      if (!isSame(given, current)) offerBack(given);
    });
    mine.addEventListener("click", () => decide(newEtag, current));
    // The focus stays where somebody types: the next key must press no button.
    conflict.hidden = false;
  }

  function fill(text) {
    for (const name of ["findings", "impression"]) fields[name].value = text[name];
  }

  function offerBack(given) {
    const back = element("button", "Bring back what I wrote", conflict);
    back.type = "button";
    back.className = "second";
    back.addEventListener("click", () => {
      fill(given);
      conflict.hidden = true;
      conflict.replaceChildren();
      typed();
    });
    conflict.hidden = false;
  }

  function decide(newEtag, current) {
    keep(newEtag, current);
    saved = { findings: current.findings, impression: current.impression };
    isDecided = true;
    conflict.hidden = true;
    conflict.replaceChildren();
    fields.findings.focus();
    if (isUnsaved()) save();
    else {
      firstUnsaved = 0;
      say(`The text of ${current.saved_by || "the draft"}.`);
      showWhatIsSaid();
    }
  }

  // --- What is said of the text: differences from the draft, and where a reader should look ---

  async function refresh(part, path) {
    if (!part) return;
    try {
      const answer = await fetch(`${form.dataset.page}/${path}`, { cache: "no-store" });
      if (!answer.ok || isUnsaved()) return;
      const template = document.createElement("template");
      template.innerHTML = await answer.text();
      part.replaceChildren(template.content);
    } catch {
      // It is of the text that was saved last; the next save asks again.
    }
  }

  function showWhatIsSaid() {
    if (isUnsaved()) return;
    refresh(differences, "differences");
    refresh(checks, "checks");
    refresh(house, "house-wordings");
  }

  // A line of the checks shows its sentence. The places are those of the text that was saved.
  checks?.addEventListener("click", (event) => {
    const quote = event.target.closest("[data-section]");
    if (!quote) return;
    const field = fields[quote.dataset.section];
    const sentence = quote.querySelector("q").textContent;
    const start = isUnsaved() ? field.value.indexOf(sentence) : Number(quote.dataset.start);
    if (start < 0) return;
    field.focus();
    field.setSelectionRange(start, start + sentence.length);
  });

  // A line of the style shows the house's sentence, and can put the model's in its place.
  house?.addEventListener("click", (event) => {
    const shown = event.target.closest("[data-find]");
    const back = event.target.closest("[data-house]");
    const { section, find, house: written, model } = (shown ?? back)?.dataset ?? {};
    if (!section) return;
    event.preventDefault();
    const field = fields[section];
    const sentence = find ?? written;
    const start = field.value.indexOf(sentence);
    if (start < 0) return;
    field.focus();
    field.setSelectionRange(start, start + sentence.length);
    if (!back) return;
    // It can be undone; setRangeText cannot.
    if (!document.execCommand("insertText", false, model)) {
      field.setRangeText(model);
      typed();
    }
    save();
  });

  // --- Leaving ---

  for (const field of Object.values(fields)) field.addEventListener("input", typed);
  form.addEventListener("submit", (event) => {
    // The form carries what was typed and the version, and the server answers as `save` does. While a
    // save is on its way the version would be the one before.
    if (isSaving || !isDecided) {
      event.preventDefault();
      if (isDecided) setTimeout(() => form.requestSubmit(event.submitter), 100);
      return;
    }
    clearTimeout(timer);
    isLeaving = true;
  });
  window.addEventListener("pageshow", () => {
    isLeaving = false;
  });
  window.addEventListener("beforeunload", (event) => {
    if (isUnsaved() && !isLeaving) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => document.hidden && save());

  // --- Keys ---

  const keys = window.nightdraftKeys;
  if (keys) {
    keys.register("e", "Edit the text", () => fields.findings.focus(), "study");
    keys.register("d", "Differences from the draft", toggle("differences"), "study");
    keys.register("s", "Sign: opens the question", () => document.getElementById("to-sign")?.click(), "study");
    keys.register("x", "Reject the draft", toggle("reject"), "study");
  }

  function toggle(id) {
    return () => {
      const part = document.getElementById(id);
      if (!part) return;
      part.open = !part.open;
      if (part.open) part.querySelector("summary").focus();
    };
  }
})();
