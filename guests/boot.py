"""Booting a guest in QEMU and asking it who it is.

The guest starts from its disks alone, with BIOS and its own boot loader, on throw-away overlays unless told otherwise.
Its network ends in QEMU: there is a DHCP server, and nothing beyond.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from guests.agent import REPLY_LIMIT, ConnectionClosedError, GuestAgent, GuestError
from guests.programs import run
from vmseal import process
from vmseal.model.volume import VolumeFormat
from vmseal.sealers.accelerator import Accelerator
from vmseal.sealers.sealer import Disk

BOOT_DEADLINE = 600.0  # seconds; an emulated guest takes 20 alone on an idle machine, and 150 on a busy one
END_DEADLINE = 10.0  # seconds from the moment QEMU closes its sockets until it has ended
SHUTDOWN_DEADLINE = 120.0  # seconds; it takes 4
DUID_OFFSET = 10  # hexadecimal digits before the DUID in a client identifier: type 255 and the interface's IAID
CONSOLE_LINES = 15  # of the console that an error quotes

# Waits until the boot is over and there is a DHCP lease, then prints "NAME VALUE" lines. The status of
# is-system-running is 1 when a unit has failed, which is for the caller to judge.
IDENTITY_SCRIPT = """
systemctl is-system-running --wait > /dev/null
/lib/systemd/systemd-networkd-wait-online --any --timeout=60 || exit 1
echo "machine-id $(cat /etc/machine-id)"
echo "hostname $(cat /proc/sys/kernel/hostname)"
echo "client-id $(cat /run/systemd/netif/leases/* | sed -n s/^CLIENTID=//p)"
echo "random-seed $(sha256sum < /var/lib/systemd/random-seed | cut -d' ' -f1)"
for key in /etc/ssh/ssh_host_*_key.pub; do
    [ -e "$key" ] && ssh-keygen -lf "$key" | sed -E 's/^[0-9]+ ([^ ]+) .*\\((.*)\\)$/host-key \\2 \\1/'
done
echo "ssh $(systemctl is-active ssh.service)"
systemctl --failed --plain --no-legend --no-pager | sed -E 's/^([^ ]+).*/failed \\1/'
"""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who a running guest is. Digests and fingerprints stand for what must not be shown."""

    machine_id: str
    hostname: str
    host_keys: dict[str, str]  # "RSA" -> "SHA256:..." as ssh-keygen -l prints it
    duid: str  # the DHCP unique identifier of its lease, hexadecimal
    random_seed: str  # SHA-256 of systemd's random seed
    ssh: str  # the state of ssh.service: "active"
    failed: tuple[str, ...] = field(default=())  # units that have failed

    def as_json(self) -> str:
        """Return the identity as JSON text."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Identity:
        """Return the identity that :meth:`as_json` wrote."""
        values = json.loads(text)
        return cls(**{**values, "failed": tuple(values["failed"])})


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The virtual hardware. A clone has a UUID and a MAC address of its own, as every VM in oVirt has."""

    accelerator: Accelerator
    memory: int = 512  # MiB
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))
    mac: str = field(default_factory=lambda: "52:54:00:" + secrets.token_bytes(3).hex(":"))

    @property
    def _cpu(self) -> str:
        # What "max" adds to the plain model costs an emulated guest almost half its speed.
        return "host" if self.accelerator is Accelerator.KVM else "qemu64"

    def command(self, drives: Sequence[Disk], folder: Path) -> list[str]:
        """Return QEMU's command line; its sockets and logs are in ``folder``."""
        command = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-sandbox", "on",
            "-machine", f"pc,accel={self.accelerator}", "-cpu", self._cpu, "-m", str(self.memory), "-uuid", self.uuid,
            "-serial", f"file:{folder / 'console.log'}",
            "-device", "virtio-rng-pci",
            "-netdev", "user,id=net,restrict=on",
            "-device", f"virtio-net-pci,netdev=net,mac={self.mac}",
            "-chardev", f"socket,id=agent,path={folder / 'agent'}",
            "-device", "virtio-serial-pci",
            "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
        ]  # fmt: skip
        for drive in drives:
            # Commas separate options, so a comma in a name is doubled. Nothing needs to survive the host's crash.
            path = str(drive.path).replace(",", ",,")
            command += ["-drive", f"file={path},format={drive.format.driver},if=virtio,cache=unsafe"]
        return command


class Guest:
    """A running guest."""

    def __init__(self, agent: GuestAgent, running: asyncio.Task[process.Finished], console: Path) -> None:
        self._agent = agent
        self._running = running
        self._console = console

    async def execute(self, script: str, *, deadline: float = BOOT_DEADLINE) -> str:
        """Run ``script`` with sh as root in the guest and return its standard output.

        Raises:
            GuestError: its status is not 0, or it has not ended after ``deadline`` seconds, or the guest is gone.

        """
        try:
            async with asyncio.timeout(deadline):
                return await self._agent.execute(script)
        except TimeoutError as error:
            raise GuestError(f"a script in the guest has not ended after {deadline:g} s\n{self.console()}") from error

    async def identity(self) -> Identity:
        """Wait until the guest has booted, and ask it who it is."""
        return _identity(await self.execute(IDENTITY_SCRIPT))

    async def power_off(self) -> None:
        """Shut the guest down and wait until QEMU has ended."""
        await self._agent.shut_down()
        try:
            async with asyncio.timeout(SHUTDOWN_DEADLINE):
                await asyncio.wait({self._running})
        except TimeoutError as error:
            raise GuestError(f"the guest is still on after {SHUTDOWN_DEADLINE:g} s\n{self.console()}") from error

    def console(self) -> str:
        """Return the last lines of the serial console."""
        return _end_of(self._console)


@asynccontextmanager
async def booted(
    disks: Sequence[Disk], *, machine: Machine, overlay: bool = True, deadline: float = BOOT_DEADLINE
) -> AsyncIterator[Guest]:
    """Boot a guest from ``disks``, in order; inside, its agent answers; at the end it is killed if it still runs.

    With ``overlay`` the disks themselves are not written to.

    Raises:
        GuestError: the guest agent has not answered after ``deadline`` seconds, or QEMU ended before.

    """
    with TemporaryDirectory(prefix="vmseal-guest-") as name:  # short: a socket's path has at most 107 bytes
        folder = Path(name)
        if overlay:
            disks = [await _overlay(disk, folder / f"{number}.qcow2") for number, disk in enumerate(disks)]
        streams: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
        streams = asyncio.get_running_loop().create_future()
        server = await asyncio.start_unix_server(
            lambda *connection: streams.set_result(connection), folder / "agent", limit=REPLY_LIMIT
        )
        command = machine.command(disks, folder)
        running = asyncio.create_task(process.run(command, reason="boot a guest"))
        try:
            guest = await _await_agent(streams, running, console=folder / "console.log", deadline=deadline)
            yield guest
        finally:
            running.cancel()
            await asyncio.wait({running})
            server.close()
            if streams.done():
                streams.result()[1].close()
            else:
                streams.cancel()


async def _overlay(disk: Disk, path: Path) -> Disk:
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", disk.format.driver, "-b", str(disk.path.resolve())]
    await run([*command, str(path)], log=path.with_suffix(".log"))
    return Disk(path, VolumeFormat.COW)


async def _await_agent(
    streams: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]],
    running: asyncio.Task[process.Finished],
    *,
    console: Path,
    deadline: float,
) -> Guest:
    """Return the guest as soon as its agent answers."""

    async def answering() -> Guest:
        agent = GuestAgent(*await streams)
        try:
            await agent.synchronize()
        except ConnectionClosedError:
            await asyncio.wait({running}, timeout=END_DEADLINE)  # how it ended says more
            raise
        return Guest(agent, running, console)

    waiting = asyncio.create_task(answering())
    try:
        await asyncio.wait({waiting, running}, timeout=deadline, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            raise GuestError(f"QEMU ended before the guest was up: {running.result()}\n{_end_of(console)}")
        if not waiting.done():
            raise GuestError(f"the guest's agent has not answered after {deadline:g} s\n{_end_of(console)}")
        return waiting.result()
    finally:
        waiting.cancel()
        await asyncio.wait({waiting})  # its own error, if it has one, is the lesser one
        _ = waiting.cancelled() or waiting.exception()


def _end_of(console: Path) -> str:
    text = console.read_text(errors="replace") if console.exists() else ""
    return "The end of its console:\n" + "\n".join(text.splitlines()[-CONSOLE_LINES:])


def _identity(lines: str) -> Identity:
    values: dict[str, str] = {}
    keys: dict[str, str] = {}
    failed: list[str] = []
    for line in lines.splitlines():
        name, _, value = line.partition(" ")
        if name == "host-key":
            kind, _, keys[kind] = value.partition(" ")
        elif name == "failed":
            failed.append(value)
        else:
            values[name] = value
    return Identity(
        machine_id=values["machine-id"],
        hostname=values["hostname"],
        host_keys=keys,
        duid=values["client-id"][DUID_OFFSET:],
        random_seed=values["random-seed"],
        ssh=values["ssh"],
        failed=tuple(failed),
    )
