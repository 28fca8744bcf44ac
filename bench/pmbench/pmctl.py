"""pmctl as one of the proxies: a database of its own, a service for each port, then `serve`."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from . import paths
from .peers import Job, Launch, Peer

NAME = "pmctl"
CONTROL_PORT = 19790


def build() -> Path:
    """Builds pmctl as it is packaged."""
    command = ["cargo", "build", "--locked", "--profile", "dist", "--quiet"]
    subprocess.run(command, cwd=paths.PROJECT, check=True)
    target = os.environ.get("CARGO_TARGET_DIR")
    return (Path(target) if target else paths.PROJECT / "target") / "dist" / "pmctl"


def environment(folder: Path) -> dict[str, str]:
    """What every pmctl in `folder` runs with: nothing of the caller's own installation."""
    return {
        "HOME": str(folder),
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "PMCTL_DATABASE_URL": f"sqlite://{folder}/pmctl.db",
        "PMCTL_LANG": "en",
    }


def _copy(database: Path, to: Path) -> None:
    """With what stands in its write-ahead log only."""
    to.touch(mode=0o600)
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)


@dataclass(frozen=True)
class Pmctl:
    """A built pmctl."""

    program: Path

    def peer(self) -> Peer:
        """It, as the others are."""
        return Peer(NAME, self.launch, str(self.program), (str(self.program), "--version"))

    def launch(self, job: Job, more: Mapping[str, str] | None = None) -> Launch:
        """Serves a job; `more` is added to the environment."""
        _copy(self._database(job), job.folder / "pmctl.db")
        env = {
            **environment(job.folder),
            "PMCTL_WORKERS": str(job.threads),
            # As the others have it.
            "PMCTL_IDLE_TIMEOUT": "300s",
            "PMCTL_MAX_CONNECTIONS": "65000",
            **(more or {}),
        }
        listen = f"127.0.0.1:{CONTROL_PORT}"
        return Launch([str(self.program), "serve", "--listen", listen], env)

    def _database(self, job: Job) -> Path:
        """A database with the services of a job, made once by each build of pmctl."""
        stamp = int(self.program.stat().st_mtime)
        folder = paths.work() / "pmctl" / f"{stamp}-{job.port}-{job.count}-{job.upstream}"
        database = folder / "pmctl.db"
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for port in job.ports:
                self._add(folder, port, job.upstream)
            (folder / "complete").touch()
        return database

    def _add(self, folder: Path, port: int, upstream: int) -> None:
        command = [
            *(str(self.program), "--direct", "service", "add", f"bench-{port}"),
            *("--port", str(port), "--bind", "127.0.0.1"),
            *("--target", f"main=http://127.0.0.1:{upstream}"),
        ]
        env = {**os.environ, **environment(folder)}
        added = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        if added.returncode != 0:
            raise SystemExit(f"pmctl could not be given port {port}: {added.stderr.strip()}")
