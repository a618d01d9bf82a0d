"""``vmseal job``, ``vmseal event`` and ``vmseal host``: what the engine does, did, and with whom."""

from __future__ import annotations

from typing import Annotated

import typer

from vmseal.cli.client import EngineClient, find_access
from vmseal.cli.options import Options, command
from vmseal.cli.show import print_json, show_one, show_rows
from vmseal.cli.values import EventValue, HostValue, JobValue
from vmseal.cli.watch import Interrupts, Watch, read_job

app = typer.Typer(help="Jobs: what the engine was asked to do, and how far it is.", no_args_is_help=True)
events = typer.Typer(help="Events: what happened.", no_args_is_help=True)
hosts = typer.Typer(help="Run the host agent alone; `host list` shows the agents that the engine knows.")

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")]


@command(app, "list")
def list_(options: Options) -> None:
    """List running jobs and those that ended lately."""
    with EngineClient(find_access(options)) as client:
        jobs = [JobValue.of(job) for job in client.list("jobs")]
    show_rows(options, jobs, ("description", "status", "reason", "started", "id"))


@command(app, "show")
def show(options: Options, job: JobId) -> None:
    """Show a job and its steps."""
    with EngineClient(find_access(options)) as client:
        value = read_job(client, job)
    lines: list[tuple[str, object]] = [
        (name, getattr(value, name)) for name in ("description", "id", "status", "reason", "started", "ended")
    ]
    for step in value.steps:
        progress = "" if step.progress is None else f"{step.progress:.0f} %"
        lines.append(("step", " ".join(filter(None, (f"{step.description}: {step.status}", progress, step.detail)))))
    show_one(options, value, lines=lines)


@command(app, "cancel")
def cancel(options: Options, job: JobId) -> None:
    """Ask the engine to stop a job and undo what it did; wait until that is done."""
    with Interrupts() as interrupts, EngineClient(find_access(options)) as client:
        client.add(f"jobs/{job}/cancel", {})
        watched = Watch(client, options, interrupts).follow(job)
    if options.json:
        print_json(watched.job)


@command(events, "list")
def list_events(
    options: Options,
    count: Annotated[int, typer.Option("--max", "-n", help="At most so many.", min=1)] = 50,
    search: Annotated[str, typer.Option(help="oVirt's search language, such as severity=error.")] = "",
) -> None:
    """List events, the latest last."""
    with EngineClient(find_access(options)) as client:
        found = [EventValue.of(event) for event in client.list("events", max=count, search=search)]
    found.sort(key=lambda event: event.id)
    show_rows(options, found, ("time", "severity", "code", "description"))


@command(hosts, "list")
def list_hosts(options: Options) -> None:
    """List the host agents."""
    with EngineClient(find_access(options)) as client:
        found = [HostValue.of(host) for host in client.list("hosts")]
    show_rows(options, found, ("name", "status", "address", "status_detail", "id"))
