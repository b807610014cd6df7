from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Connection(HttpToolsProtocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        for name in ("max_header_bytes", "header_seconds", "body_seconds"):
            kwargs.pop(name)
        super().__init__(*args, **kwargs)
