// Keys of the worklist and of the way from study to study; who reads a study.
"use strict";

(() => {
  const keys = window.nightdraftKeys;

  // --- The worklist ---

  const live = document.querySelector("main.worklist #live");
  if (live) {
    const links = () => [...live.querySelectorAll("tbody a[id^='study-']")];
    const step = (by) => {
      const all = links();
      if (!all.length) return false;
      const here = document.activeElement?.closest?.("tr[data-study]");
      const at = all.findIndex((link) => here?.contains(link));
      const to = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : at + by];
      if (to) {
        to.focus({ preventScroll: true });
        to.closest("tr").scrollIntoView({ block: "nearest" });
        return;
      }
      // Behind the last row is the next page; its first row is one press away.
      document.getElementById(by > 0 ? "older" : "newer")?.focus();
    };
    const inTable = (act) => () => (live.querySelector("table.studies")?.contains(document.activeElement) ? act() : false);
    keys.register("j", "Next row", () => step(1), "worklist");
    keys.register("k", "Row before", () => step(-1), "worklist");
    keys.register("ArrowDown", "Next row, from a row", inTable(() => step(1)), "worklist");
    keys.register("ArrowUp", "Row before, from a row", inTable(() => step(-1)), "worklist");
    keys.register("Enter", "Open the row's study", () => false, "worklist"); // as every link does
    keys.register("x", "Tick the row", inTable(() => {
      const box = document.activeElement.closest("tr[data-study]")?.querySelector("input[type=checkbox]");
      if (!box) return false;
      box.click();
    }), "worklist");
    keys.register("f", "Filter and sort", () => {
      const summary = document.getElementById("show-filters");
      if (!summary) return false;
      summary.parentElement.open = true;
      summary.focus();
    }, "worklist");

    const bulk = document.getElementById("bulk");
    const ticked = document.getElementById("ticked");
    const say = () => {
      const number = live.querySelectorAll("input[name=studies]:checked").length;
      if (ticked) ticked.textContent = number ? `${number} ticked` : "Tick studies to change several at once.";
      // Without this script the form is always there.
      if (bulk) bulk.hidden = number === 0 && !bulk.contains(document.activeElement);
    };
    live.addEventListener("change", say);
    document.addEventListener("nightdraft:shown", say);
    say();
    // From a study at the end of its list one comes back to its row.
    if (location.hash.startsWith("#study-")) document.getElementById(location.hash.slice(1))?.focus();
  }

  // --- A study ---

  const steps = document.querySelector("nav.steps");
  if (steps) {
    const LIST = "nightdraft-list";
    // Forms on the page lead back to it without the list: this tab remembers it.
    const given = new URLSearchParams(location.search).get("list");
    try {
      if (given !== null) sessionStorage.setItem(LIST, given);
      const list = given ?? sessionStorage.getItem(LIST);
      if (given === null && list !== null) {
        const query = new URLSearchParams({ list });
        for (const id of ["next-study", "previous-study"]) {
          const link = document.getElementById(id);
          link.href = `${link.pathname}?${query}`;
        }
        const back = document.getElementById("to-list");
        back.href = `/?${list}${new URL(back.href).hash}`;
      }
    } catch {
      // A browser that keeps nothing: the links lead through all studies.
    }
    const follow = (id) => () => document.getElementById(id).click();
    keys.register("j", "Next study of the list", follow("next-study"), "study");
    keys.register("k", "Study before", follow("previous-study"), "study");
    keys.register("u", "Back to the worklist", follow("to-list"), "study");
  }

  const reader = document.querySelector("#reader[data-lock]");
  if (reader) {
    const RENEW = 30_000;
    const token = document.querySelector('meta[name="form-token"]')?.content ?? "";
    const send = (address, options = {}) =>
      fetch(address, {
        method: "POST",
        headers: { "x-form-token": token, "content-type": "application/x-www-form-urlencoded" },
        body: "",
        ...options,
      });
    const renew = async () => {
      if (document.hidden) return;
      try {
        const response = await send(`${reader.dataset.lock}/lock`);
        if (!response.ok) return;
        const line = response.status === 204 ? "" : (await response.text()).trim();
        const parsed = document.createElement("template");
        parsed.innerHTML = line;
        if (reader.textContent.trim() !== parsed.content.textContent.trim()) reader.replaceChildren(parsed.content);
      } catch {
        // nightdraft.js says that the server does not answer
      }
    };
    renew();
    setInterval(renew, RENEW);
    document.addEventListener("visibilitychange", renew);
    window.addEventListener("pagehide", () => void send(`${reader.dataset.lock}/unlock`, { keepalive: true }).catch(() => {}));
  }
})();
