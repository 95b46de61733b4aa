// Inserts a phrase of the report style where the cursor stands. A reader does that; the software
// never does it by itself. Alt+P opens the list in a text field, `p` outside of one.
"use strict";

(() => {
  const source = document.getElementById("phrases");
  const form = document.getElementById("text");
  if (!source || !form || form.dataset.locked) return;

  const phrases = [...source.querySelectorAll("dl > div")].map((line) => ({
    title: line.querySelector("dt").textContent,
    text: line.querySelector("dd").textContent,
  }));
  const fields = [...form.querySelectorAll("textarea")];
  let last = fields[0]; // the field in which somebody wrote last
  for (const field of fields) field.addEventListener("focus", () => (last = field));

  function element(name, text, parent) {
    const made = document.createElement(name);
    made.textContent = text;
    parent.append(made);
    return made;
  }

  function insert(field, text) {
    field.focus();
    const before = field.value.slice(0, field.selectionStart);
    const words = before && !/\s$/.test(before) ? ` ${text}` : text;
    // It can be undone; setRangeText cannot.
    if (document.execCommand("insertText", false, words)) return;
    field.setRangeText(words, field.selectionStart, field.selectionEnd, "end");
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  function open() {
    if (document.getElementById("phrase-list")) return;
    const field = last;
    const dialog = document.createElement("dialog");
    dialog.id = "phrase-list";
    dialog.className = "key-map phrase-list";
    dialog.setAttribute("aria-labelledby", "phrase-list-title");
    element("h2", "Insert a phrase", dialog).id = "phrase-list-title";
    const label = element("label", "Phrase ", dialog);
    const list = element("select", "", label);
    list.size = Math.max(2, Math.min(10, phrases.length));
    for (const phrase of phrases) element("option", phrase.title, list).dir = "auto";
    list.selectedIndex = 0;
    const shown = element("p", phrases[0].text, dialog);
    shown.className = "lines";
    shown.dir = "auto";
    shown.setAttribute("aria-live", "polite");
    list.addEventListener("change", () => (shown.textContent = phrases[list.selectedIndex].text));
    const buttons = element("div", "", dialog);
    buttons.className = "buttons";
    const take = element("button", "Insert", buttons);
    const leave = element("button", "Cancel", buttons);
    for (const button of [take, leave]) button.type = "button";
    leave.className = "second";
    const choose = () => {
      const phrase = phrases[list.selectedIndex];
      dialog.close();
      if (phrase) insert(field, phrase.text);
    };
    take.addEventListener("click", choose);
    leave.addEventListener("click", () => dialog.close());
    list.addEventListener("dblclick", choose);
    list.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      choose();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      field.focus();
    });
    document.body.append(dialog);
    dialog.showModal();
    list.focus();
  }

  const button = document.createElement("button");
  button.type = "button";
  button.id = "open-phrases";
  button.className = "second";
  button.textContent = "Insert a phrase (Alt+P)";
  button.addEventListener("click", open);
  source.before(button);

  for (const field of fields) {
    field.addEventListener("keydown", (event) => {
      // The code, for with Alt a keyboard of a Mac writes another character.
      if (!event.altKey || event.ctrlKey || event.metaKey || event.code !== "KeyP") return;
      event.preventDefault();
      open();
    });
  }
  window.nightdraftKeys?.register("p", "Insert a phrase; in a text field Alt+P", open, "study");
})();
