"""Hosts of a cluster on one machine: namespaces with an address, processes and a disk of their own.

What all of them see is read-only, as the image of a container is: the project's environment and the
system's programs. What a host writes lies on its own disk, which no other host sees.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.conftest import PROJECT

DISK = "disk"
"""Where each host has its own disk mounted, below the network's folder."""

BOOT = """
set -e
own=$1 disk=$2 hosts=$3 names=$4 secrets=$5 code=$6 project=$7
mount --make-rprivate /
mkdir -p "$own"/home
mount --bind "$own" "$disk"
mount --bind "$names" /etc/hosts
mount -t tmpfs none /run
mkdir /run/secrets
mount --bind "$secrets" /run/secrets
mount --bind "$project" "$code"
mount -t tmpfs none "$hosts"
mount -t tmpfs none /tmp
[ -d "$project" ] || { mkdir -p "$project" && mount --bind "$code" "$project"; }
mount -t tmpfs none /dev/shm
chmod 1777 /tmp /dev/shm
mount -o remount,ro,bind /
hostname "$8"
ip link set lo up
echo ready
exec sleep infinity
"""


def can_make_hosts() -> str | None:
    """Why there can be no hosts here; None when there can."""
    programs = ("ip", "nsenter", "unshare", "setpriv", "dumb-init", "redis-server")
    missing = [name for name in programs if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)}: not installed"
    asked = ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "true"]
    if subprocess.run(asked, capture_output=True, check=False).returncode:
        return "namespaces need root"
    return None


@dataclass
class Network:
    """Hosts that reach each other, and are reached from here; `folder` has their disks and logs."""

    folder: Path
    number: int
    secrets: Path
    """What every host sees as /run/secrets."""
    hosts: dict[str, Host] = field(default_factory=dict)

    @property
    def bridge(self) -> str:
        """The link that joins all hosts."""
        return f"lung{self.number}"

    def address(self, name: str) -> str:
        """The IP address of a host, known before it boots."""
        return f"10.{self.number}.0.{10 + list(self.hosts).index(name)}"

    def add(self, name: str, *aliases: str) -> Host:
        """A host that has not booted yet, and the names of what it serves; before any boots."""
        self.hosts[name] = Host(self, name, aliases)
        return self.hosts[name]


@contextmanager
def network(secrets: Path) -> Iterator[Network]:
    """A network without hosts; every host that boots on it ends with it."""
    # Not in /tmp: each host has one of its own.
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="lungseg-") as folder:
        made = Network(Path(folder), 64 + os.getpid() % 128, secrets)
        Path(folder).chmod(0o755)
        for name in ("hosts", "logs", "code", DISK):
            (made.folder / name).mkdir()
        with _bridge(made):
            yield made


@contextmanager
def _bridge(made: Network) -> Iterator[None]:
    _ip("link", "add", made.bridge, "type", "bridge")
    try:
        _ip("address", "add", f"10.{made.number}.0.1/24", "dev", made.bridge)
        _ip("link", "set", made.bridge, "up")
        yield
    finally:
        for host in made.hosts.values():
            host.kill()
        _ip("link", "delete", made.bridge)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Host:
    """A machine that can be started, told to run programs, and killed at any moment."""

    def __init__(self, net: Network, name: str, aliases: Sequence[str]) -> None:
        self.net, self.name, self.aliases = net, name, aliases
        self.own = net.folder / "hosts" / name
        self.disk = net.folder / DISK
        self.services: dict[str, subprocess.Popen[bytes]] = {}
        self._init: psutil.Process | None = None

    @property
    def address(self) -> str:
        """Its IP address."""
        return self.net.address(self.name)

    @property
    def link(self) -> str:
        """Its cable, seen from here."""
        return f"{self.net.bridge}-{list(self.net.hosts).index(self.name)}"

    def boot(self, *, empty: bool = False) -> None:
        """Start it; `empty` gives it a new disk."""
        if empty:
            shutil.rmtree(self.own, ignore_errors=True)
        self.own.mkdir(exist_ok=True)
        net = self.net
        names = net.folder / "names"
        known = [" ".join([one.address, one.name, *one.aliases]) for one in net.hosts.values()]
        names.write_text("\n".join(["127.0.0.1 localhost", *known, ""]))
        places = [self.own, self.disk, net.folder / "hosts", names, net.secrets]
        places += [net.folder / "code", PROJECT]
        command = ["setpriv", "--pdeathsig", "KILL"]  # no host outlives the test
        command += ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child"]
        command += ["--mount-proc", "sh", "-c", BOOT, "boot", *map(str, places), self.name]
        wrapper = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert wrapper.stdout is not None
        assert wrapper.stdout.readline() == b"ready\n", f"{self.name} did not boot"
        [self._init] = psutil.Process(wrapper.pid).children()
        peer = ["type", "veth", "peer", "name", "eth0", "netns", str(self._init.pid)]
        _ip("link", "add", self.link, *peer)
        _ip("link", "set", self.link, "master", self.net.bridge, "up")
        enter = ["nsenter", f"--net=/proc/{self._init.pid}/ns/net", "ip"]
        for arguments in (
            ["address", "add", f"{self.address}/24", "dev", "eth0"],
            ["link", "set", "eth0", "up"],
            ["route", "add", "default", "via", f"10.{self.net.number}.0.1"],
        ):
            subprocess.run([*enter, *arguments], check=True, capture_output=True)
        self._wrapper = wrapper

    def command(self, arguments: Sequence[str | Path], folder: str = "") -> list[str]:
        """What runs a program on this host, in a folder of its disk."""
        assert self._init is not None
        enter = ["nsenter", f"--target={self._init.pid}", "--all", f"--wdns={self.disk / folder}"]
        return [*enter, *map(str, arguments)]

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """The environment of a program: what is given, and this host's own places for files."""
        places = {"HOME": "home", "DVC_SITE_CACHE_DIR": "site"}
        own = {name: str(self.disk / path) for name, path in places.items()}
        return {**variables, **own}

    def start(
        self, name: str, arguments: Sequence[str | Path], variables: Mapping[str, str]
    ) -> None:
        """Start a service; its output is added to logs/<host>-<name>.log."""
        log = self.net.folder / "logs" / f"{self.name}-{name}.log"
        with log.open("ab") as file:
            self.services[name] = subprocess.Popen(
                self.command(arguments),
                env=self.environment(variables),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, arguments: Sequence[str | Path], variables: Mapping[str, str]) -> str:
        """Run a program to its end and return its output; it must succeed."""
        done = subprocess.run(
            self.command(arguments),
            env=self.environment(variables),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def kill_service(self, name: str) -> None:
        """kill -9 of a service and all that it started."""
        service = self.services.pop(name)
        for process in [*psutil.Process(service.pid).children(recursive=True), service]:
            process.kill()
        service.wait()

    def kill(self) -> None:
        """Power off: every process of the host ends at once. Its disk stays."""
        if self._init is None:
            return
        self._init.kill()
        self._wrapper.wait()
        assert self._wrapper.stdout is not None
        self._wrapper.stdout.close()
        # The kernel would do it, too, some time later.
        subprocess.run(["ip", "link", "delete", self.link], capture_output=True, check=False)
        for service in self.services.values():
            service.wait()
        self.services.clear()
        self._init = None


def await_(what: str, holds: object, seconds: float) -> float:
    """Wait until `holds()` is true; the seconds that it took. Fails with `what` after `seconds`."""
    assert callable(holds)
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < seconds, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.1)
    return time.monotonic() - started
