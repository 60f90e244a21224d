"use strict";

// Swagger UI (https://swagger.io/docs/open-source-tools/swagger-ui/usage/configuration/) on our own description.
SwaggerUIBundle({
  dom_id: "#apis",
  url: "/openapi.json",
  validatorUrl: "none", // the badge would tell another host where we are
  deepLinking: true,
  docExpansion: "none", // of thousands of APIs only what is opened is drawn
  defaultModelsExpandDepth: -1,
  filter: true,
  displayRequestDuration: true,
});
