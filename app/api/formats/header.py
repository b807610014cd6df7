"""Header values with parameters: `form-data; name="file"` (RFC 9110, section 5.6.6)."""

from __future__ import annotations

import re
from functools import lru_cache

PARAMETER = re.compile(rb""";[ \t]*([^\s=;"]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^\s;]*)""")
ESCAPED = re.compile(rb'\\(["\\])')


@lru_cache(maxsize=64)
def parse_header(value: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """The value in lower case and its parameters by their names in lower case; read only."""
    main, _, _ = value.partition(b";")
    parameters = {}
    for name, text in PARAMETER.findall(value, len(main)):
        quoted = text[:1] == b'"'
        parameters[name.lower()] = ESCAPED.sub(rb"\1", text[1:-1]) if quoted else text
    return main.strip().lower(), parameters
