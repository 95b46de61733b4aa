// Shows when the server no longer answers, so that nobody takes old counts for new ones. htmx makes
// the requests.
document.addEventListener("htmx:afterRequest", (event) => {
  const lost = !event.detail.successful;
  document.getElementById("stale").hidden = !lost;
  document.body.classList.toggle("lost", lost);
});
