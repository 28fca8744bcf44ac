"""The proxies that are compared: how each is started, stopped and asked for its version."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import machine, paths

# Connections that a proxy which has to be told is told to be ready for.
CONNECTIONS = 65_000


@dataclass(frozen=True)
class Job:
    """What a proxy is asked to do: `count` listeners from `port` on, all of them for one target."""

    port: int
    count: int
    upstream: int
    threads: int
    # A folder of its own, empty.
    folder: Path

    @property
    def ports(self) -> range:
        return range(self.port, self.port + self.count)


@dataclass(frozen=True)
class Launch:
    """A command and what it adds to the environment."""

    command: list[str]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Peer:
    """A proxy."""

    name: str
    launch: Callable[[Job], Launch]
    # The program that must be there.
    program: str
    # Asked for the version; None: told by `version`.
    version_of: tuple[str, ...] = ()
    version: str = ""
    # Where the version stands in what is told.
    version_pattern: str = r"(\d+\.\d+(\.\d+)*)"
    # What makes it finish what is in flight and end.
    stop: signal.Signals = signal.SIGTERM
    # It understands what it forwards.
    parses: bool = True
    # A folder that must be there as well.
    needs: Path | None = None

    def is_there(self) -> bool:
        found = shutil.which(self.program, path=paths.search_path()) is not None
        return found and (self.needs is None or self.needs.exists())

    def found_version(self) -> str:
        """The version that is installed."""
        if not self.version_of:
            return self.version
        env = {**os.environ, "PATH": paths.search_path()}
        told = subprocess.run(self.version_of, env=env, capture_output=True, text=True)
        found = re.search(self.version_pattern, told.stdout + told.stderr)
        return found.group(1) if found else "unknown"


def filled(template: str, **values: object) -> str:
    """A file of `peers/` with its @NAMES@ replaced."""
    text = (paths.PEERS / template).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def _blocks(template: str, job: Job) -> str:
    return "\n".join(
        filled(template, I=at, PORT=port, UPSTREAM=job.upstream)
        for at, port in enumerate(job.ports)
    )


def _nginx(job: Job) -> Launch:
    file = job.folder / "nginx.conf"
    file.write_text(
        filled(
            "nginx.conf.in",
            DIR=job.folder,
            THREADS=job.threads,
            UPSTREAM=job.upstream,
            # More would need descriptors that are not allowed.
            CONNECTIONS=min(CONNECTIONS, machine.descriptors() - 100),
            DESCRIPTORS=machine.descriptors(),
            USER="user root;" if os.geteuid() == 0 else "",
            BLOCKS=_blocks("nginx.block.in", job),
        )
    )
    errors = f"{job.folder}/nginx.err"
    return Launch(["nginx", "-p", str(job.folder), "-c", str(file), "-e", errors])


def _haproxy(job: Job) -> Launch:
    file = job.folder / "haproxy.cfg"
    blocks = _blocks("haproxy.block.in", job)
    connections = min(CONNECTIONS, machine.descriptors() - 100)
    file.write_text(
        filled("haproxy.cfg.in", THREADS=job.threads, CONNECTIONS=connections, BLOCKS=blocks)
    )
    return Launch(["haproxy", "-q", "-db", "-f", str(file)])


def _caddy(job: Job) -> Launch:
    file = job.folder / "Caddyfile"
    file.write_text(filled("caddy.conf.in", BLOCKS=_blocks("caddy.block.in", job)))
    env = {"GOMAXPROCS": str(job.threads), "HOME": str(job.folder)}
    return Launch(["caddy", "run", "--config", str(file), "--adapter", "caddyfile"], env)


def _traefik(job: Job) -> Launch:
    file = job.folder / "static.yml"
    entries = _blocks("traefik.entry.in", job)
    file.write_text(filled("traefik.static.in", DIR=job.folder, BLOCKS=entries))
    dynamic = filled("traefik.dynamic.in", UPSTREAM=job.upstream)
    (job.folder / "dynamic.yml").write_text(dynamic)
    return Launch(["traefik", f"--configFile={file}"], {"GOMAXPROCS": str(job.threads)})


def pingora_program() -> str:
    """Where the peer made with pingora is built."""
    return str(paths.work() / "pingora" / "release" / "pmctl-bench-pingora")


def _pingora(job: Job) -> Launch:
    numbers = (job.threads, job.port, job.count, job.upstream)
    return Launch([pingora_program(), *map(str, numbers)])


def express_modules() -> Path:
    """Where npm puts express and http-proxy-middleware."""
    return paths.work() / "express" / "node_modules"


def _express(job: Job) -> Launch:
    numbers = (job.threads, job.port, job.count, job.upstream)
    env = {"NODE_PATH": str(express_modules()), "NODE_ENV": "production"}
    return Launch(["node", str(paths.PEERS / "express.js"), *map(str, numbers)], env)


def _forwarder(*more: str) -> Callable[[Job], Launch]:
    def launch(job: Job) -> Launch:
        numbers = (job.threads, job.port, job.upstream)
        return Launch([paths.tool("forwarder"), *map(str, numbers), *more])

    return launch


def _plugged(command: str) -> Callable[[Job], Launch]:
    def launch(job: Job) -> Launch:
        text = command.format(
            port=job.port, count=job.count, up=job.upstream, threads=job.threads, dir=job.folder
        )
        return Launch(["/bin/sh", "-c", f"exec {text}"])

    return launch


def plugged(written: str, stop: signal.Signals = signal.SIGTERM) -> Peer:
    """A proxy from the command line: NAME=COMMAND."""
    name, equals, command = written.partition("=")
    if not (name and equals and command):
        raise SystemExit(f"--proxy {written}: it has the form NAME='COMMAND …'")
    return Peer(name, _plugged(command), "/bin/sh", version="as given", stop=stop)


FORWARDER = "L4 forwarder"
SPLICING = "L4 forwarder, splice"


def _package_version(*names: str) -> str:
    found = []
    for name in names:
        file = express_modules() / name / "package.json"
        if file.exists() and (version := re.search(r'"version": "([^"]+)"', file.read_text())):
            found.append(f"{name} {version.group(1)}")
    return ", ".join(found) or "unknown"


def builtin() -> list[Peer]:
    """Every proxy that this harness knows by itself, but pmctl."""
    tool = paths.tool("forwarder")
    express = _package_version("express", "http-proxy-middleware")
    own = "part of this benchmark"
    return [
        Peer("haproxy", _haproxy, "haproxy", ("haproxy", "-v"), stop=signal.SIGUSR1),
        Peer("nginx", _nginx, "nginx", ("nginx", "-v"), stop=signal.SIGQUIT),
        Peer("pingora", _pingora, pingora_program(), version=_pingora_version()),
        Peer(
            "caddy",
            _caddy,
            "caddy",
            # `caddy version` knows only builds of its makers.
            version_of=("caddy", "build-info"),
            version_pattern=r"caddyserver/caddy/v2\s+v([\d.]+)",
        ),
        Peer("traefik", _traefik, "traefik", ("traefik", "version")),
        Peer("express", _express, "node", version=express, needs=express_modules()),
        Peer(FORWARDER, _forwarder(), tool, version=own, parses=False),
        Peer(SPLICING, _forwarder("splice"), tool, version=own, parses=False),
    ]


def _pingora_version() -> str:
    lock = paths.PEERS / "pingora" / "Cargo.lock"
    if not lock.exists():
        return "unknown"
    found = re.search(r'name = "pingora-proxy"\nversion = "([^"]+)"', lock.read_text())
    return found.group(1) if found else "unknown"
