// Swagger UI over this server's OpenAPI document; the address is relative, for mounts behind a proxy.

SwaggerUIBundle({
  url: new URL("openapi.json", document.baseURI).href,
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null, // its default asks a host elsewhere
});
