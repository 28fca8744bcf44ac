"""Where things are: the project's files, and the one folder that everything else goes to."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
PROJECT = BENCH.parent
PEERS = BENCH / "peers"


def work() -> Path:
    """The folder for builds, configurations and raw results: PMBENCH_WORK, else a temporary one."""
    named = os.environ.get("PMBENCH_WORK")
    folder = Path(named) if named else Path(tempfile.gettempdir()) / "pmbench"
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def tool(name: str) -> str:
    """A program of the tools crate."""
    return str(work() / "tools" / "release" / name)


def search_path() -> str:
    """PATH with what was built here in front."""
    return f"{work() / 'go' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
