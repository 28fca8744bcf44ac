"""Finds what is needed, and installs what is missing from the packages of their makers."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import paths, peers, progress

CADDY = "github.com/caddyserver/caddy/v2/cmd/caddy@v2.11.9"
TRAEFIK = "github.com/traefik/traefik/v3/cmd/traefik@v3.7.13"
DEBIAN = {"nginx": "nginx-light", "haproxy": "haproxy", "wrk": "wrk", "strace": "strace"}


def tools() -> None:
    """Builds upstream, load and forwarder."""
    try:
        _cargo(paths.BENCH / "tools", "tools")
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"the tools of the benchmark do not build: {error.stderr}") from error


def required() -> None:
    """Without these nothing is measured."""
    missing = [name for name in DEBIAN if not _found(name)]
    if missing and shutil.which("apt-get") and os.geteuid() == 0:
        packages = [DEBIAN[name] for name in missing]
        progress.say(f"installing {', '.join(packages)}")
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *packages],
        ):
            subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
        missing = [name for name in DEBIAN if not _found(name)]
    if missing:
        raise SystemExit(f"{', '.join(missing)}: not found; install them and run this again")
    tools()


def more_peers() -> None:
    """The others; one that cannot be had is left out, with a line that says so."""
    _try("pingora", lambda: _cargo(paths.PEERS / "pingora", "pingora"))
    _try("caddy", lambda: go_program("caddy", CADDY))
    if not _found("traefik"):
        _try("traefik", _build_traefik)
    _try("express", _npm)


def go_folder() -> Path:
    """Where Go keeps what is built here."""
    return paths.work() / "go"


def go_environment() -> dict[str, str]:
    """For `go`, with everything in the work folder."""
    folder = str(go_folder())
    places = {"GOPATH": folder, "GOBIN": f"{folder}/bin", "GOCACHE": f"{folder}/cache"}
    return {**os.environ, **places}


def go_program(name: str, package: str) -> Path:
    """A program of a Go module, built if it is not there yet."""
    program = go_folder() / "bin" / name
    if not program.exists():
        _run(["go", "install", "-ldflags", "-s -w", package], env=go_environment())
    return program


def _build_traefik() -> None:
    """Its module replaces others, which `go install` refuses but for the main module."""
    module, _, version = TRAEFIK.partition("@")
    module = module.removesuffix("/cmd/traefik")
    env = go_environment()
    _run(["go", "mod", "download", f"{module}@{version}"], env=env)
    source = go_folder() / "pkg" / "mod" / f"{module}@{version}"
    copy = paths.work() / "traefik"
    shutil.rmtree(copy, ignore_errors=True)
    _run(["cp", "-r", "--no-preserve=mode", str(source), str(copy)])
    program = str(go_folder() / "bin" / "traefik")
    _run(["go", "build", "-ldflags", "-s -w", "-o", program, "./cmd/traefik"], env=env, cwd=copy)


def _npm() -> None:
    folder = peers.express_modules().parent
    if peers.express_modules().exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(paths.PEERS / "package.json", folder)
    _run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=folder)


def _cargo(crate: Path, target: str) -> None:
    env = {**os.environ, "CARGO_TARGET_DIR": str(paths.work() / target)}
    manifest = str(crate / "Cargo.toml")
    _run(["cargo", "build", "--locked", "--release", "--quiet", "--manifest-path", manifest], env)


def _run(
    command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> None:
    """Fails with what the command said on standard error."""
    subprocess.run(
        command,
        env=env,
        cwd=cwd,
        check=True,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _try(name: str, install: Callable[[], object]) -> None:
    failed = paths.work() / f"{name}.failed"
    if failed.exists():
        progress.say(f"{name} is left out; remove {failed}, which says why, to try again")
        return
    try:
        progress.say(f"{name}: found, or built now")
        install()
    except subprocess.CalledProcessError as error:
        failed.write_text(error.stderr or str(error))
        progress.say(f"{name} is left out: {failed} says why")
    except OSError as error:
        progress.say(f"{name} is left out: {error}")


def _found(program: str) -> bool:
    return shutil.which(program, path=paths.search_path()) is not None
