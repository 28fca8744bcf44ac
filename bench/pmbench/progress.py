"""What is said while something is measured: on standard error, results go elsewhere."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
