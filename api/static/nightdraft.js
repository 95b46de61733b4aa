// Says when the page no longer hears from the server, so that nobody takes old counts for new ones.
// Knows nothing else; htmx does the asking.
document.addEventListener("htmx:afterRequest", (event) => {
  const lost = !event.detail.successful;
  document.getElementById("stale").hidden = !lost;
  document.body.classList.toggle("lost", lost);
});
