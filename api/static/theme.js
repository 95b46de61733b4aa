// Dark or light: what this browser was told, else dark, for pages are read beside films.
//
// It runs before anything is shown, so that no page changes its colours under the eye.
"use strict";

window.nightdraftTheme = (() => {
  const CHOICE = "nightdraft-theme";
  const SCREENS = { dark: "screen", light: "not all", system: "screen and (prefers-color-scheme: dark)" };
  const style = document.getElementById("dark-style");

  function read() {
    try {
      const choice = localStorage.getItem(CHOICE);
      return Object.hasOwn(SCREENS, choice) ? choice : "dark";
    } catch {
      return "dark"; // a browser that keeps nothing
    }
  }

  function show(choice) {
    style.media = SCREENS[choice];
    document.documentElement.classList.toggle("dark-mode", matchMedia(style.media).matches); // Swagger UI's class
  }

  function choose(choice) {
    show(choice);
    try {
      localStorage.setItem(CHOICE, choice);
    } catch {
      // It holds for this page.
    }
  }

  show(read());
  addEventListener("storage", () => show(read())); // chosen in another tab
  matchMedia(SCREENS.system).addEventListener("change", () => show(read()));
  return { read, choose };
})();
