"""The main job from end to end: a Debian guest becomes a sealed template, and two clones of it are somebody else.

Builds the guest, starts ``vmseal up`` with a state folder of its own, imports the guest as a VM, creates a sealed
template of it through the REST API, makes two VMs from the template, boots both, and compares who they are. Ends with
status 0 when everything is as it should be. Ctrl-C stops everything that was started.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import cast

import httpx
import structlog
from rich.console import Console
from rich.markup import escape
from rich.table import Table

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # guests is not part of the distribution

from guests.boot import Identity, Machine, booted  # noqa: E402  needs the path above
from guests.build import CACHE, build_guest, identity_of  # noqa: E402  likewise
from guests.recipes import DEBIAN12_EXT4  # noqa: E402  likewise

from vmseal import process  # noqa: E402  sorted after guests
from vmseal.cli.values import JobValue, StepValue, members, text, truth  # noqa: E402  likewise
from vmseal.model.errors import VmsealError  # noqa: E402  likewise
from vmseal.model.volume import VolumeFormat  # noqa: E402  likewise
from vmseal.sealers.accelerator import Accelerators  # noqa: E402  likewise
from vmseal.sealers.sealer import Disk  # noqa: E402  likewise

WIDEST = 150  # columns that the table of identities may need
STATE = ROOT / ".cache" / "demo" / "state"
API = "/ovirt-engine/api"
START_DEADLINE = 120.0  # seconds for `vmseal up` to be ready; it takes 5
STOP_DEADLINE = 30.0  # seconds for `vmseal up` to stop; then it is killed
JOB_POLL = 0.4  # seconds between two looks at a job
FINGERPRINT_SHOWN = 22  # characters of a fingerprint in the table; all of it is compared
VM, TEMPLATE, CLONES = "lilac", "lilac-sealed", ("clone-1", "clone-2")

type_of = {"cow": VolumeFormat.COW, "raw": VolumeFormat.RAW}
console = Console(highlight=False, soft_wrap=True)


class DemoError(VmsealError):
    """The demo did not show what it should."""


@dataclass(frozen=True)
class Row:
    """A line of the comparison: the same property of the source and of each clone."""

    name: str
    cells: tuple[str, ...]

    @property
    def is_right(self) -> bool:
        """Whether everybody has the property, and nobody the same."""
        return all(self.cells) and len(set(self.cells)) == len(self.cells)


async def main(state: Path, cache: Path) -> bool:
    """Run the demo with vmseal's state in ``state``; return whether the clones are different and work."""
    begin = time.monotonic()
    async with vmseal_up(state) as engine:
        with step("Build a Debian 12 guest that has been in use (once; then it is cached), and vmseal's appliance"):
            async with asyncio.TaskGroup() as group:
                building = group.create_task(build_guest(DEBIAN12_EXT4, cache))
                group.create_task(vmseal(state, "appliance", "build"))
            images = building.result()
            console.print(f"  {short_path(images[0])}, {images[0].stat().st_size >> 20} MiB")
        source = identity_of(images)
        with step("Import it as a VM"):
            await vmseal(state, "vm", "import", VM, "-a", str(images[0]))
        with step("Create a sealed template of the VM, through the REST API"):
            await create_template(engine)
        with step("Create two VMs from the template"):
            for name in CLONES:
                await vmseal(state, "vm", "create", name, "--template", TEMPLATE)
        with step("Boot both, side by side"):
            clones = await boot_clones(engine, state)
    right = show_identities(source, clones)
    console.print(
        f"\n{time.monotonic() - begin:.0f} s in all; everything is stopped. State and logs: {short_path(state)}"
    )
    return right


# --------------------------------------------------------------------------------------------------------- the engine


@asynccontextmanager
async def vmseal_up(state: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Run ``vmseal up`` on a free port; inside is a client that is signed in at its engine."""
    empty(state)
    ready: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()

    def on_line(line: str) -> None:
        if line.startswith("{") and not ready.done():
            ready.set_result(json.loads(line))

    log = state / "up.log"
    command = program(state, "up", "--port", "0", "--json")
    running = asyncio.create_task(process.run(command, on_line=on_line, log=log))
    try:
        with step("Start vmseal: engine and host agent"):
            up = await started(ready, running, log=log)
            console.print(f"  {up['url']}  (password in {short_path(Path(up['password_file']))})")
        async with httpx.AsyncClient(base_url=up["url"], timeout=60, trust_env=False) as client:
            await sign_in(client, up)
            yield client
        os.kill(int(up["pid"]), signal.SIGTERM)
        await asyncio.wait({running}, timeout=STOP_DEADLINE)
    finally:
        running.cancel()  # kills engine, host agent and whatever they run, if they are still there
        await asyncio.wait({running})


async def started(
    ready: asyncio.Future[dict[str, str]], running: asyncio.Task[process.Finished], *, log: Path
) -> dict[str, str]:
    """Return what ``vmseal up`` says when it is ready."""
    waited: set[asyncio.Future[object]] = {cast("asyncio.Future[object]", each) for each in (ready, running)}
    await asyncio.wait(waited, timeout=START_DEADLINE, return_when=asyncio.FIRST_COMPLETED)
    if not ready.done():
        said = running.result().last_lines() if running.done() else f"not ready after {START_DEADLINE:g} s"
        raise DemoError(f"vmseal up did not start: {said}\nSee {log}")
    return ready.result()


async def sign_in(client: httpx.AsyncClient, up: Mapping[str, str]) -> None:
    """Get a token, as oVirt's SDK does."""
    password = await asyncio.to_thread(lambda: Path(up["password_file"]).read_text().strip())
    form = {
        "grant_type": "password",
        "scope": "ovirt-app-api",
        "username": up["user"],
        "password": password,
    }
    headers = {"Accept": "application/json"}
    answer = await client.post("/ovirt-engine/sso/oauth/token", data=form, headers=headers)
    answer.raise_for_status()
    client.headers.update({**headers, "Authorization": f"Bearer {answer.json()['access_token']}", "Version": "4"})


async def get(client: httpx.AsyncClient, path: str) -> dict[str, object]:
    """Return the document at ``path`` below the API's root."""
    answer = await client.get(f"{API}/{path}")
    answer.raise_for_status()
    return cast("dict[str, object]", answer.json())


async def create_template(client: httpx.AsyncClient) -> None:
    """Create the sealed template and show how that goes."""
    vms = await get(client, f"vms?search=name%3D{VM}")
    body = {"name": TEMPLATE, "vm": {"id": text(members(vms, "vm")[0], "id")}}
    console.print(f"  [bold]POST {API}/templates?seal=true[/]\n  {json.dumps(body)}", markup=True)
    answer = await client.post(f"{API}/templates", params={"seal": "true"}, json=body)
    if not answer.is_success:
        raise DemoError(f"the engine refused: HTTP {answer.status_code}: {answer.text}")
    template = answer.json()
    console.print(f"  HTTP {answer.status_code}: template {template['id']} is {template['status']}")
    await follow(client, text(template, "job", "id"))
    template = await get(client, f"templates/{template['id']}")
    console.print(f"  template {template['name']} is {template['status']}, sealed: {template['sealed']}")
    if template["status"] != "ok" or not truth(template, "sealed"):
        raise DemoError("the template should be ok and sealed")
    show_report(await get(client, f"templates/{template['id']}/sealreport"))


async def follow(client: httpx.AsyncClient, job_id: str) -> None:
    """Show each phase of a job as it ends, and what runs now."""
    told: set[str] = set()
    with console.status("  starting") as status:
        while True:
            job = JobValue.of(await get(client, f"jobs/{job_id}"))
            steps = [StepValue.of(each) for each in members(await get(client, f"jobs/{job_id}/steps"), "step")]
            for each in sorted(steps, key=lambda one: one.number):
                if each.ended and each.id not in told:
                    told.add(each.id)
                    mark = "[green]✓[/]" if each.status == "finished" else f"[red]{each.status}[/]"
                    console.print(
                        f"  {mark} {duration(each):>7}  {'  ' if each.parent_id else ''}{escape(each.description)}"
                    )
                elif each.status == "started":
                    percent = "" if each.progress is None else f"{each.progress:.0f} %"
                    status.update(escape(f"  {each.description} {percent} {each.detail}"))
            if job.has_ended:
                break
            await asyncio.sleep(JOB_POLL)
    if job.status != "finished":
        raise DemoError(f"{job.description}: {job.status}: {job.reason}")


# --------------------------------------------------------------------------------------------------------- the clones


async def boot_clones(client: httpx.AsyncClient, state: Path) -> list[Identity]:
    """Boot all clones on their own volumes and return who they are."""
    accelerator = await Accelerators(state / "demo").best()
    vms = {text(vm, "name"): text(vm, "id") for vm in members(await get(client, "vms"), "vm")}

    async def identity(name: str) -> Identity:
        vm = vms[name]
        attachments = members(await get(client, f"vms/{vm}/diskattachments"), "disk_attachment")
        documents = [await get(client, f"disks/{text(attachment, 'disk', 'id')}") for attachment in attachments]
        disks = [Disk(Path(text(disk, "path")), type_of[text(disk, "format")]) for disk in documents]
        begin = time.monotonic()
        console.print(f"  {name}: QEMU ({accelerator}) on volume {', '.join(disk.path.name for disk in disks)}")
        async with booted(disks, machine=Machine(accelerator=accelerator, uuid=vm), overlay=False) as guest:
            found = await guest.identity()
            console.print(f"  {name}: up after {time.monotonic() - begin:.0f} s, ssh.service is {found.ssh}")
            await guest.power_off()
        return found

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(identity(name)) for name in CLONES]
    return [task.result() for task in tasks]


def show_identities(source: Identity, clones: Sequence[Identity]) -> bool:
    """Print the comparison; return whether all of it is as it should be."""
    everybody = [source, *clones]
    rows = [Row("machine-id", tuple(one.machine_id for one in everybody))]
    kinds = sorted({kind for one in everybody for kind in one.host_keys})
    rows += [Row(f"SSH host key {kind}", tuple(one.host_keys.get(kind, "") for one in everybody)) for kind in kinds]
    rows.append(Row("DHCP identity (DUID)", tuple(one.duid for one in everybody)))
    table = Table(title="\nWho they are", title_justify="left")
    for name in ("", "source", *CLONES, ""):
        table.add_column(name, no_wrap=True)
    for row in rows:
        verdict = "[green]different[/]" if row.is_right else "[bold red]NOT DIFFERENT[/]"
        table.add_row(row.name, *(shortened(cell) for cell in row.cells), verdict)
    ssh = [one.ssh for one in everybody]
    running = all(state == "active" for state in ssh)
    table.add_row("ssh.service", *ssh, "[green]runs[/]" if running else "[bold red]DOES NOT RUN[/]")
    Console(width=max(console.width, WIDEST), highlight=False).print(table)  # a table that is cut shows nothing
    right = running and all(row.is_right for row in rows)
    console.print("[bold green]OK[/]" if right else "[bold red]FAILED[/]")
    return right


# ------------------------------------------------------------------------------------------------- programs and output


async def vmseal(state: Path, *arguments: str) -> None:
    """Run a command of the CLI and show it."""
    console.print(f"  [bold]$ vmseal {shlex.join(short_path(Path(word)) for word in arguments)}[/]", markup=True)
    finished = await process.run(
        program(state, *arguments), on_line=lambda line: console.print(f"  {line}", markup=False)
    )
    if finished.returncode:
        raise DemoError(f"vmseal {shlex.join(arguments)} ended with status {finished.returncode}")


def program(state: Path, *arguments: str) -> list[str]:
    """Return the command line of vmseal on the demo's state folder."""
    return [sys.executable, "-m", "vmseal.cli.main", "--state", str(state), *arguments]


def show_report(report: Mapping[str, object]) -> None:
    """Print what was sealed."""
    operations = members(report, "operations")
    changing = [each for each in operations if text(each, "removed") != "0" or text(each, "changed") != "0"]
    names = [text(each, "name") for each in changing or operations]  # virt-sysprep does not say which changed anything
    by = f"{report['sealer']} {report['version']} ({report['accelerator']})"
    console.print(f"  sealed by {by} in {float(text(report, 'seconds')):.0f} s: {text(report, 'guest', 'product')}")
    # Some show up once per thing they did.
    console.print(f"  {len(operations)} operations: {', '.join(dict.fromkeys(names))}")
    warnings = report["warnings"]
    for warning in warnings if isinstance(warnings, list) else []:
        console.print(f"  [yellow]warning[/] {warning}")


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print a heading before, and how long it took after."""
    begin = time.monotonic()
    console.print(f"\n[bold cyan]{title}[/]")
    yield
    console.print(f"  [dim]{time.monotonic() - begin:.1f} s[/]")


def empty(folder: Path) -> None:
    """Make ``folder``, empty."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def duration(each: StepValue) -> str:
    """Return how long a step took."""
    if not each.started or not each.ended:
        return ""
    seconds = (datetime.fromisoformat(each.ended) - datetime.fromisoformat(each.started)).total_seconds()
    return f"{abs(seconds):.1f} s"


def shortened(cell: str) -> str:
    """Return a value as the table shows it."""
    digest = cell.removeprefix("SHA256:")
    return cell if digest == cell else f"{digest[:FINGERPRINT_SHOWN]}…"


def short_path(path: Path) -> str:
    """Return a path below the project as a relative one."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


async def stoppable(state: Path, cache: Path) -> bool:
    """Run the demo so that SIGTERM and SIGHUP end it as Ctrl-C does."""
    task = asyncio.ensure_future(main(state, cache))
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--state", type=Path, default=STATE, help="folder for vmseal's state; emptied (%(default)s)")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of built guests (%(default)s)")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    status = 1
    try:
        status = 0 if asyncio.run(stoppable(options.state.absolute(), options.cache.absolute())) else 1
    except* VmsealError as errors:
        for error in errors.exceptions:
            console.print(f"\n[bold red]The demo failed[/]: {escape(str(error))}")
    except* (KeyboardInterrupt, asyncio.CancelledError):
        console.print("\nStopped; nothing runs any more.")
        status = 130
    sys.exit(status)
