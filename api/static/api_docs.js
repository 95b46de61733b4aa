// Shows the OpenAPI document in Swagger UI. Nothing is asked of another server.
"use strict";

const reference = document.getElementById("reference");

// Swagger UI has a dark scheme of its own, by a class.
const dark = window.matchMedia("(prefers-color-scheme: dark)");
function followScheme() {
  document.documentElement.classList.toggle("dark-mode", dark.matches);
}
dark.addEventListener("change", followScheme);
followScheme();

window.SwaggerUIBundle({
  url: reference.dataset.document,
  domNode: reference,
  presets: [window.SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  docExpansion: "list",
  validatorUrl: null,
  // Calls that change something say that they are from this page.
  requestInterceptor: (request) => {
    const token = document.querySelector('meta[name="form-token"]')?.content;
    if (token) request.headers["x-form-token"] = token;
    return request;
  },
});
