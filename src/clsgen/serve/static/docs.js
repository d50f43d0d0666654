// The script of Swagger UI, which is loaded before this one, looks for no other host.
window.SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger", validatorUrl: null, deepLinking: true });
