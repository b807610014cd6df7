"""The HTTP interface: routes, bodies, responses, problems."""
