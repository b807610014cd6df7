"""`python -m digits`: the command, where the package is not installed."""

from __future__ import annotations

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
