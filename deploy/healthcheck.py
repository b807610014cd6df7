"""Exit 0 while /healthz answers 200, else 1 and say what it answered.

For a container's HEALTHCHECK: standard library only, so that it costs milliseconds and works with
`python -IS` in an image that has no curl.
"""

import http.client
import os
import sys


def main() -> int:
    """Return 0 where the service can answer, else 1; print its answer."""
    port = int(os.environ.get("DIGITS_PORT", "8000"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        answer = response.read(500).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer on port {port}: {error}")
        return 1
    finally:
        connection.close()
    print(response.status, answer)
    return 0 if response.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
