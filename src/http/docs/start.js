SwaggerUIBundle({
  dom_id: "#api",
  url: "/api-docs/openapi.json",
  deepLinking: true,
  displayRequestDuration: true,
  // Credentials typed into the page stay in its memory.
  persistAuthorization: false,
  // The default sends the document to a service on the network.
  validatorUrl: null,
});
