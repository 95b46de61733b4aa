// Shows the OpenAPI document in Swagger UI. Nothing is asked of another server.
"use strict";

const reference = document.getElementById("reference");

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
