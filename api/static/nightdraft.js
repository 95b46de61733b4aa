// Keeps a page up to date, and says how old it is when the server does not answer.
//
// An element with `data-live` is asked for anew every `data-every` seconds. An answer 204 says that
// nothing has changed. Without this script everything works too, by plain links and forms.
"use strict";

const TIME_LIMIT = 5_000; // a server that needs longer for an answer hangs
const OLD_AFTER = 15_000; // a page that was not confirmed for so long says so, whatever the cause

const live = document.querySelector("[data-live]");
const stale = document.getElementById("stale");
const news = document.getElementById("news");

let confirmedAt = Date.now(); // when the server last said that the page is up to date
let fault = ""; // why the last question was not answered
let held = null; // a newer content that waits because somebody uses the table
let timer = 0;

function seconds(milliseconds) {
  return Math.max(0, Math.round(milliseconds / 1000));
}

// About how long, as the server words it: `40 s`, `12 min`, `3 h 05 min`.
function duration(total) {
  if (total < 90) return `${total} s`;
  const minutes = Math.round(total / 60);
  if (minutes < 90) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

// --- How old the page is ---

function showAge() {
  const age = Date.now() - confirmedAt;
  const reason = fault || (age > OLD_AFTER ? "The server does not answer." : "");
  document.body.classList.toggle("lost", reason !== "");
  stale.hidden = reason === "";
  if (reason) {
    const since = new Date(confirmedAt).toLocaleTimeString([], { hour12: false });
    const text = `${reason} What is shown is of ${since}.`;
    const sentence = stale.querySelector("[role=alert]");
    if (sentence.textContent !== text) sentence.textContent = text;
    // Not in the alert: a screen reader would read out every second.
    stale.querySelector(".age").textContent = `It is ${duration(seconds(age))} old.`;
  }
}

// "4 s ago" of each part. The server's clock said `data-now` when its answer was made.
let partsAt = Date.now();
function showPartAges() {
  const parts = document.getElementById("parts");
  if (!parts) return;
  const now = Date.parse(parts.dataset.now) + (Date.now() - partsAt);
  for (const time of parts.querySelectorAll("time[data-ago]")) {
    time.textContent = `${duration(seconds(now - Date.parse(time.dateTime)))} ago`;
  }
  for (const time of document.querySelectorAll("time[data-waits]")) {
    time.textContent = waited(seconds(now - Date.parse(time.dataset.waits)));
  }
}

// As the server words it: from two days on in days.
function waited(total) {
  return total < 172_800 ? duration(total) : `${Math.round(total / 86_400)} d`;
}

// --- New content ---

// Whether the pointer or the keyboard is in the table, or on the way to the button that shows what is
// new: no row must move then.
function isInUse() {
  const places = [live.querySelector("table"), document.getElementById("bulk"), news].filter((place) => place !== null);
  return places.some((place) => place.matches(":hover") || place.contains(document.activeElement));
}

function ids(root, selector) {
  return [...root.querySelectorAll(selector)].map((element) => element.id);
}

function newStudies(content) {
  const shown = new Set(ids(live, "tbody [id]"));
  return ids(content, "tbody [id]").filter((id) => !shown.has(id));
}

function show(content) {
  const focused = live.contains(document.activeElement) ? document.activeElement.id : "";
  const ticked = [...live.querySelectorAll("input[name=studies]:checked")].map((box) => box.value);
  held = null;
  news.replaceChildren();
  live.replaceChildren(content);
  partsAt = Date.now();
  tick(live, ticked);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  document.dispatchEvent(new Event("nightdraft:shown"));
}

function tick(root, values) {
  for (const box of root.querySelectorAll("input[name=studies]")) box.checked ||= values.includes(box.value);
}

// A row as the server wrote it, without what each second and the reader change.
function bare(row) {
  const copy = row.cloneNode(true);
  for (const time of copy.querySelectorAll("time[data-waits]")) time.textContent = "";
  return copy.innerHTML;
}

// Rows that stay are brought up to date where they are. The one that is used keeps its place on the
// screen and the focus: where another becomes higher, the page is moved, and where it cannot be, that
// row waits. Returns whether all rows that stay are up to date.
function updateRows(content) {
  const used = live.querySelector("tbody tr:hover") ?? document.activeElement?.closest?.("tr[data-study]");
  const top = used?.getBoundingClientRect().top ?? 0;
  const moved = () => (used ? used.getBoundingClientRect().top - top : 0);
  let isWhole = true;
  for (const row of content.querySelectorAll("tr[data-study]")) {
    const shown = live.querySelector(`tr[data-study="${row.dataset.study}"]`);
    if (!shown || bare(shown) === bare(row)) continue;
    const focused = shown.contains(document.activeElement) ? document.activeElement : null;
    const ticked = [...shown.querySelectorAll("input[name=studies]:checked")].map((box) => box.value);
    const old = [...shown.childNodes];
    shown.replaceChildren(...row.cloneNode(true).childNodes);
    tick(shown, ticked);
    if (moved()) window.scrollBy(0, moved());
    if (Math.abs(moved()) >= 1) {
      shown.replaceChildren(...old);
      window.scrollBy(0, moved());
      isWhole = false;
    }
    if (focused) (document.getElementById(focused.id) ?? shown.querySelector("input"))?.focus({ preventScroll: true });
  }
  return isWhole;
}

function rowOrder(root) {
  return [...root.querySelectorAll("tr[data-study]")].map((row) => row.dataset.study).join(" ");
}

// Shows at once what moves nothing, and offers the rest.
function hold(content) {
  held = content;
  for (const count of content.querySelectorAll(".counts [id]")) {
    const shown = document.getElementById(count.id);
    if (shown) {
      shown.className = count.className;
      shown.innerHTML = count.innerHTML;
    }
  }
  const isWhole = updateRows(content);
  const fresh = newStudies(content);
  const alarms = (root) => root.querySelectorAll(".alarm").length;
  const hasAlarm = alarms(content) > alarms(live);
  const isSame = isWhole && rowOrder(content) !== "" && rowOrder(content) === rowOrder(live) && alarms(content) === alarms(live);
  if (isSame) {
    news.replaceChildren(); // every row is up to date
    return;
  }
  const isWorklist = live.querySelector("table.studies") !== null;
  const unit = !isWorklist ? "" : fresh.length === 1 ? " study" : " studies";
  const text =
    (hasAlarm ? "A new alarm. " : "") + (fresh.length ? `${fresh.length} new${unit}` : "The list has changed");
  if (news.querySelector("span")?.textContent === text) return;
  const words = document.createElement("span");
  words.textContent = text;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Show";
  button.addEventListener("click", (event) => {
    const first = newStudies(held)[0];
    show(held);
    // Somebody who uses the keyboard goes on at the first new study.
    if (event.detail === 0 && first) document.getElementById(first).focus();
  });
  news.replaceChildren(words, button);
}

function release() {
  if (held !== null && !isInUse()) show(held);
}

function accept(html) {
  const template = document.createElement("template");
  template.innerHTML = html.trim();
  const content = template.content;
  const parts = content.querySelector("#parts");
  if (parts && !content.querySelector("[data-seen]")) {
    // Only the times of the parts: everything else is as the page shows it.
    document.getElementById("parts").dataset.now = parts.dataset.now;
    for (const time of parts.querySelectorAll("time[id]")) {
      const shown = document.getElementById(time.id);
      if (shown) {
        shown.dateTime = time.dateTime;
        shown.title = time.title;
      }
    }
    partsAt = Date.now();
  } else if (live.innerHTML !== template.innerHTML) {
    if (isInUse()) hold(content);
    else show(content);
  }
  showPartAges();
}

// --- Questions to the server ---

function address() {
  const seen = (held ?? live).querySelector("[data-seen]");
  if (!seen) return live.dataset.live;
  const url = new URL(live.dataset.live, location.href);
  url.searchParams.set("seen", seen.dataset.seen);
  return url.href;
}

async function ask() {
  clearTimeout(timer);
  try {
    const response = await fetch(address(), { signal: AbortSignal.timeout(TIME_LIMIT), cache: "no-store" });
    const html = await response.text();
    if (response.status === 401) {
      location.assign(loginAddress("ended"));
      return;
    }
    if (response.status === 404 && emergency) {
      leaveEmergency(); // it was ended in another window
      return;
    }
    if (!response.ok) {
      const title = new DOMParser().parseFromString(html, "text/html").querySelector("h1");
      fault = `The server answers with an error: ${title?.textContent ?? response.status}.`;
    } else {
      fault = "";
      confirmedAt = Date.now();
      if (response.status !== 204) accept(html);
    }
  } catch {
    fault = "The server does not answer.";
  }
  showAge();
  timer = setTimeout(ask, 1000 * Number(live.dataset.every));
}

// --- The lock of the screen ---

function loginAddress(why) {
  const back = location.pathname + location.search;
  return `/login?${new URLSearchParams({ why, next: back })}`;
}

function meta(name) {
  return document.querySelector(`meta[name="${name}"]`)?.content;
}

const lockAfter = 1000 * Number(meta("lock-seconds") ?? 0);
const USED = "nightdraft-used"; // of all tabs: somebody who reads in one has not left the others

function noteUse() {
  localStorage.setItem(USED, String(Date.now()));
}

async function lockIfLeft() {
  if (Date.now() - Number(localStorage.getItem(USED)) < lockAfter) return;
  clearInterval(lockTimer);
  clearTimeout(timer);
  const note = document.createElement("p");
  note.className = "notice locked";
  note.textContent = "This page was not used for a while. It is locked.";
  // Whatever the server answers, nobody who comes by sees a patient.
  document.body.replaceChildren(note);
  try {
    await fetch("/logout", {
      method: "POST",
      headers: { "x-form-token": meta("form-token"), "content-type": "application/x-www-form-urlencoded" },
      body: "why=locked",
      signal: AbortSignal.timeout(TIME_LIMIT),
    });
  } finally {
    location.replace(loginAddress("locked"));
  }
}

// What was opened in an emergency is taken away a second before that ends: it may be left open. The
// next page is asked for when it has ended, or it would still speak of it.
const emergency = document.querySelector("[data-emergency]");
function leaveEmergency() {
  document.body.replaceChildren();
  setTimeout(() => location.replace("/"), 2000);
}
if (emergency) setTimeout(leaveEmergency, 1000 * Math.max(0, Number(emergency.dataset.emergency) - 1));

let lockTimer = 0;
if (lockAfter) {
  noteUse();
  for (const event of ["pointermove", "pointerdown", "keydown", "wheel", "touchstart"]) {
    document.addEventListener(event, noteUse, { passive: true });
  }
  lockTimer = setInterval(lockIfLeft, 1000);
}

if (live) {
  timer = setTimeout(ask, 1000 * Number(live.dataset.every));
  setInterval(() => {
    showAge();
    showPartAges();
  }, 1000);
  for (const event of ["pointerover", "focusin", "focusout"]) {
    document.addEventListener(event, () => setTimeout(release));
  }
  document.documentElement.addEventListener("pointerleave", () => setTimeout(release));
  // Browsers slow hidden pages down, and keep left ones.
  document.addEventListener("visibilitychange", () => document.hidden || ask());
  window.addEventListener("pageshow", (event) => event.persisted && ask());
}
