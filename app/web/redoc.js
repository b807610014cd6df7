// ReDoc over this server's OpenAPI document; the address is relative, for mounts behind a proxy.

Redoc.init(
  new URL("openapi.json", document.baseURI).href,
  {
    disableSearch: true, // its index is built in a worker from a blob, which the policy forbids
    hideDownloadButton: true, // the link is in the page's own head
    nativeScrollbars: true,
    theme: { typography: { fontFamily: "system-ui, sans-serif", headings: { fontFamily: "system-ui, sans-serif" } } },
  },
  document.getElementById("redoc"),
);
