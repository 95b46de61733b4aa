// The table of keys, and the map of them at `?`.
//
// Scripts register what a key does: nightdraftKeys.register(key, words, action, scope). A key is one
// of KeyboardEvent.key. Single characters act nowhere where somebody writes, and a person can switch
// them off (WCAG 2.2, 2.1.4).
"use strict";

window.nightdraftKeys = (() => {
  const OFF = "nightdraft-keys-off";
  const SCOPES = { all: "Every page", worklist: "Worklist", study: "Study", films: "Films" };
  const table = []; // {key, words, action, scope}

  function isOff() {
    try {
      return localStorage.getItem(OFF) === "1";
    } catch {
      return false; // a browser that keeps nothing
    }
  }

  function register(key, words, action, scope = "all") {
    const known = table.find((entry) => entry.key === key);
    if (known) Object.assign(known, { words, action, scope });
    else table.push({ key, words, action, scope });
  }

  function isWriting(element) {
    return element?.closest?.("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]") != null;
  }

  function named(key) {
    return { ArrowDown: "↓", ArrowUp: "↑", Enter: "Enter" }[key] ?? key;
  }

  function element(name, text, parent) {
    const made = document.createElement(name);
    made.textContent = text;
    parent?.append(made);
    return made;
  }

  function makeThemeChoice() {
    const choice = document.createElement("fieldset");
    choice.className = "themes";
    element("legend", "Colours on this computer", choice);
    for (const [theme, words] of Object.entries({ dark: "Dark", light: "Light", system: "As this computer is set" })) {
      const label = element("label", "", choice);
      const button = document.createElement("input");
      button.type = "radio";
      button.name = "theme";
      button.checked = window.nightdraftTheme.read() === theme;
      button.addEventListener("change", () => window.nightdraftTheme.choose(theme));
      label.append(button, ` ${words}`);
    }
    return choice;
  }

  function makeMap() {
    const dialog = document.createElement("dialog");
    dialog.id = "keys";
    dialog.className = "key-map";
    element("h2", "Keys", dialog).id = "keys-title";
    dialog.setAttribute("aria-labelledby", "keys-title");
    for (const [scope, title] of Object.entries(SCOPES)) {
      const entries = table.filter((entry) => entry.scope === scope);
      if (!entries.length) continue;
      element("h3", title, dialog);
      const list = document.createElement("dl");
      for (const entry of entries) {
        const line = document.createElement("div");
        element("kbd", named(entry.key), element("dt", "", line));
        element("dd", entry.words, line);
        list.append(line);
      }
      dialog.append(list);
    }
    const label = element("label", "", dialog);
    label.className = "check";
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = !isOff();
    box.addEventListener("change", () => {
      try {
        localStorage.setItem(OFF, box.checked ? "" : "1");
      } catch {
        box.checked = true; // nothing can be kept
      }
    });
    label.append(box, " Single keys act on this computer. The map opens with ? in any case.");
    dialog.append(makeThemeChoice());
    const form = element("form", "", dialog);
    form.method = "dialog";
    element("button", "Close", form);
    dialog.addEventListener("close", () => dialog.remove());
    return dialog;
  }

  function showMap() {
    if (document.getElementById("keys")) return;
    const dialog = makeMap();
    document.body.append(dialog);
    dialog.showModal();
  }

  // A key that is held down presses nothing: the page that its first press opened may have another
  // button in the same place, and that one may sign.
  document.addEventListener("keydown", (event) => {
    if (event.repeat && event.key === "Enter" && event.target.closest?.("button, a, summary")) event.preventDefault();
  });

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (document.querySelector("dialog[open]")) return;
    if (isWriting(event.target)) {
      if (event.key === "Escape") event.target.blur(); // Tab goes on from here
      return;
    }
    const entry = table.find((one) => one.key === event.key);
    if (!entry || (isOff() && entry.key !== "?" && entry.key.length === 1)) return;
    if (entry.action(event) !== false) event.preventDefault(); // false: it was not meant
  });

  register("?", "This map", showMap);
  register("Escape", "Leave a field, so that keys act again", () => false);
  register("/", "Search", () => {
    const field = document.getElementById("words");
    if (!field) return false;
    field.focus();
    field.select();
  });
  document.addEventListener("DOMContentLoaded", () => {
    for (const button of document.querySelectorAll("#show-keys, .show-keys")) {
      button.hidden = false;
      button.addEventListener("click", showMap);
    }
  });
  return { register, showMap, isWriting };
})();
