"""Makes a machine with many ports and sockets, and measures who lists its listeners at what cost."""

import glob
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile

PORTS = int(os.environ.get("PMCTL_BENCH_PORTS", "1000"))
SOCKETS = int(os.environ.get("PMCTL_BENCH_SOCKETS", "20000"))
RUNS = 5
# Processes that share the load.
CROWD = 10
BOUNDS = {"live": 0.1, "foreign": 0.25}
LSOF = ["lsof", "-nP", "-iTCP", "-sTCP:LISTEN"]


def forked(work):
    """Runs `work` in a process of its own until that is killed; returns once it is ready."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(ready)
            kept = work()
            os.write(tell, b"1")
            os.close(tell)
            while kept is not None:
                signal.pause()
        finally:
            os._exit(1)
    os.close(tell)
    answer = os.read(ready, 1)
    os.close(ready)
    if not answer:
        sys.exit("a helper process failed: see above")
    return pid


def pairs(count):
    """That many connections over loopback, both ends held here."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    kept = [listener]
    for _ in range(count):
        client = socket.create_connection(listener.getsockname())
        kept += [client, listener.accept()[0]]
    return kept


def listeners(ports):
    return [socket.create_server(("127.0.0.1", port)) for port in ports]


def end(pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def free_ports():
    """Below the range that clients get theirs from, so that no connection takes one meanwhile."""
    for port in range(10000, 32000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port
    sys.exit("too few free ports on this machine")


def cpu_of(pid):
    """Of a running process, in seconds: all its threads, to the nanosecond."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        with open(path) as file:
            total += int(file.read().split()[0])
    return total / 1e9


def cost(command, env=None, server=None):
    """CPU seconds of one run, that of the server which answers it included."""
    before = cpu_of(server) if server else 0
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=env)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{command}: exit status {child.returncode}")
    own = usage.ru_utime + usage.ru_stime
    return own + (cpu_of(server) - before if server else 0)


def compare(commands):
    """The median of each, taken in turns so that whatever else runs hits all alike."""
    taken = {name: [] for name in commands}
    for _ in range(RUNS):
        for name, arguments in commands.items():
            taken[name].append(cost(**arguments))
    return {name: statistics.median(values) for name, values in taken.items()}


def states(pmctl, env):
    """How many ports there are in each state: that what is measured is the right thing."""
    shown = subprocess.run(
        [pmctl, "ports", "status", "-o", "json"], env=env, check=True, capture_output=True
    )
    report = json.loads(shown.stdout)
    counts = {}
    for port in report["ports"].values():
        counts[port["state"]] = counts.get(port["state"], 0) + 1
    return report["source"], counts


def main():
    pmctl = sys.argv[1]
    rows, failed = [], False
    with tempfile.TemporaryDirectory(prefix="pmctl-bench-") as folder:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "XDG_STATE_HOME": f"{folder}/state",
            "XDG_CONFIG_HOME": f"{folder}/config",
            "PMCTL_DATABASE_URL": f"sqlite://{folder}/bench.db",
            "PMCTL_LANG": "en",
        }
        candidates = free_ports()
        control = next(candidates)
        ports = []
        log = open(f"{folder}/serve.log", "w")
        server = subprocess.Popen(
            [pmctl, "serve", "--listen", f"127.0.0.1:{control}"],
            env=env, cwd=folder, stdout=log, stderr=log,
        )
        crowd = []
        try:
            wait = [pmctl, "status", "--wait", "ready", "--timeout", "20s"]
            subprocess.run(wait, env=env, check=True, stdout=subprocess.DEVNULL)
            while len(ports) < PORTS:
                port = next(candidates)
                # Somebody else may have come first.
                if add(pmctl, env, port):
                    ports.append(port)
            crowd = [forked(lambda: pairs(SOCKETS // 2 // CROWD)) for _ in range(CROWD)]
            expect(states(pmctl, env), ("server", {"serving": PORTS}))
            status = [pmctl, "ports", "status"]
            live = compare({
                "lsof": {"command": LSOF},
                "live": {"command": status, "env": env, "server": server.pid},
                "client": {"command": status, "env": env},
                "direct": {"command": [*status, "--direct"], "env": env},
            })
            server.send_signal(signal.SIGTERM)
            server.wait(60)
            crowd += [forked(lambda i=i: listeners(ports[i::CROWD])) for i in range(CROWD)]
            expect(states(pmctl, env), ("database", {"foreign": PORTS}))
            foreign = compare({
                "lsof": {"command": LSOF},
                "foreign": {"command": status, "env": env},
            })
            rows = [
                ("lsof, ports held by the server", live["lsof"], live["lsof"], None),
                ("ports status, server's share included", live["live"], live["lsof"], "live"),
                ("  the command alone", live["client"], live["lsof"], None),
                ("ports status --direct", live["direct"], live["lsof"], None),
                ("lsof, ports held by others", foreign["lsof"], foreign["lsof"], None),
                ("ports status", foreign["foreign"], foreign["lsof"], "foreign"),
            ]
        finally:
            end(crowd)
            if server.poll() is None:
                server.kill()
                server.wait()
            log.close()
    print(f"{PORTS} registered ports, {SOCKETS} more sockets, median of {RUNS}")
    print(f"{'':<40} {'CPU ms':>8} {'ratio':>7}  bound")
    for name, seconds, of, case in rows:
        ratio, bound = seconds / of, ""
        if case:
            holds = ratio <= BOUNDS[case]
            failed |= not holds
            bound = f"{BOUNDS[case]} {'holds' if holds else 'BROKEN'}"
        print(f"{name:<40} {seconds * 1000:>8.1f} {ratio:>7.3f}  {bound}")
    sys.exit(1 if failed else 0)


def add(pmctl, env, port):
    command = [pmctl, "service", "add", f"svc-{port}", "--port", str(port), "--bind", "127.0.0.1"]
    added = subprocess.run(
        [*command, "--target", "main=http://127.0.0.1:9"], env=env, stdout=subprocess.DEVNULL
    )
    return added.returncode == 0


def expect(found, wanted):
    if found != wanted:
        sys.exit(f"not the machine that was to be measured: {found} instead of {wanted}")


if __name__ == "__main__":
    main()
