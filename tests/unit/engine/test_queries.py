"""What the web UI's pages show of templates, hosts, storage, jobs and events."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session
from tests.fakes.commands import install
from tests.fakes.templates import GIB, add_many, add_template, proof

from vmseal.engine.database import Database
from vmseal.engine.queries.events import event_page
from vmseal.engine.queries.installation import domain_details, host_details
from vmseal.engine.queries.jobs import recent_jobs, running_jobs
from vmseal.engine.queries.language import SearchError
from vmseal.engine.queries.overview import activity, alerts, overview, seal_durations
from vmseal.engine.queries.paging import PageAsked
from vmseal.engine.queries.template_detail import (
    audit_report,
    envelope,
    proof_report,
    seal_report,
    statement,
    template_detail,
    template_disks,
)
from vmseal.engine.queries.templates import template_page
from vmseal.engine.queries.vms import vm_page
from vmseal.engine.tables import Host, StorageDomain, Template


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Give a transaction on an installation without templates."""
    database = Database(f"sqlite:///{tmp_path / 'vmseal.db'}")
    install(database)
    with database.session() as session:
        yield session
    database.close()


@pytest.fixture
def ids(session: Session) -> dict[str, str]:
    """Fill it with templates in all states."""
    found = add_many(session)
    session.flush()
    session.expire_all()
    return found


def test_a_template_keeps_what_lists_show_of_its_documents(session: Session) -> None:
    template = add_template(session, "t", seal_report={"seconds": 7}, audit={"passed": False})
    assert (template.seal_seconds, template.audit_passed, template.proof_passed) == (7.0, False, None)
    template.audit, template.proof, template.seal_report = {"passed": True}, proof(passed=True), {}
    session.flush()
    session.refresh(template)
    assert (template.seal_seconds, template.audit_passed, template.proof_passed) == (None, True, True)
    template.audit = None
    assert template.audit_passed is None


def test_templates_are_listed_with_their_states(session: Session, ids: dict[str, str]) -> None:
    page = template_page(session, PageAsked(sort="name"))
    assert (page.total, len(page.rows), page.number) == (36, 25, 1)
    rows = {row.id: row for row in page.rows}
    web, newer, bad, locked = (rows[ids[name]] for name in ("web", "newer", "bad", "locked"))
    assert (web.version_number, web.versions, web.vms, web.size) == (1, 2, 3, 10 * GIB)
    assert (newer.version_number, newer.version_name, newer.vms) == (2, "update 2", 1)
    assert (web.audit, web.proof, bad.audit, bad.proof) == ("passed", "passed", "failed", "failed")
    assert (locked.audit, locked.proof, locked.status) == ("none", "none", "locked")
    assert locked.work is not None
    assert (locked.work.step, locked.work.progress) == ("Sealing the disks", 42.0)


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("audit=failed", {"bad"}),
        ("proof=none and sealed=true", {"locked"}),
        ("sealed=false and childcount>0", {"plain"}),
        ("status=illegal", {"broken"}),
        ("version_number=2", {"newer"}),
        ("Web", {"web", "newer"}),
    ],
)
def test_templates_are_found_by_their_states(
    session: Session, ids: dict[str, str], search: str, found: set[str]
) -> None:
    page = template_page(session, PageAsked(search))
    assert {row.id for row in page.rows} == {ids[name] for name in found}
    assert page.total == len(found)


def test_templates_are_sorted_and_paged(session: Session, ids: dict[str, str]) -> None:
    last = template_page(session, PageAsked(sort="creationdate", descending=True, number=99))
    assert (last.number, len(last.rows)) == (2, 11)
    assert [row.created for row in last.rows] == sorted((row.created for row in last.rows), reverse=True)
    by_vms = template_page(session, PageAsked(sort="childcount", descending=True, size=2))
    assert [row.id for row in by_vms.rows] == [ids["web"], ids["bad"]]
    with pytest.raises(SearchError, match="colour"):
        template_page(session, PageAsked("colour=red"))


def test_a_template_in_all_its_parts(session: Session, ids: dict[str, str]) -> None:
    detail = template_detail(session, ids["newer"])
    assert detail is not None
    assert detail.row.name == "debian-web"
    assert [(version.number, version.id) for version in detail.versions] == [(1, ids["web"]), (2, ids["newer"])]
    assert (detail.source_vm_name, detail.source_vm_exists, detail.cluster) == ("source", False, "Default")
    (disk,) = template_disks(session, ids["newer"])
    domain = session.scalars(sa.select(StorageDomain)).one()
    assert disk.path == f"/srv/domain/{domain.id}/images/{disk.id}/{disk.volume_id}"
    assert (disk.bootable, disk.size, disk.used, disk.domain) == (True, 10 * GIB, GIB, "data")
    said = statement(session, ids["newer"])
    assert said is not None
    assert said.verification is not None
    assert said.verification.verified
    assert said.envelope == envelope(session, ids["newer"])
    report = seal_report(session, ids["newer"])
    assert report is not None
    assert report["sealer"] == "appliance"
    assert audit_report(session, ids["plain"]) is proof_report(session, ids["plain"]) is None
    assert statement(session, ids["web"]) is None
    assert envelope(session, ids["web"]) is None
    assert template_detail(session, "none") is None


def test_what_is_done_to_a_template_now(session: Session, ids: dict[str, str]) -> None:
    locked, bad = (template_detail(session, ids[name]) for name in ("locked", "bad"))
    assert locked is not None
    assert [work.command for work in locked.work] == ["AddVmTemplate"]
    assert bad is not None
    assert bad.work == (), "its job has ended"


def test_vms_and_events_of_one_template(session: Session, ids: dict[str, str]) -> None:
    assert vm_page(session, PageAsked(), ids["web"]).total == 3
    assert vm_page(session, PageAsked("name=*-1"), ids["web"]).total == 1
    events = event_page(session, PageAsked(), ids["newer"])
    assert [event.severity for event in events.rows] == ["warning", "error", "normal"]
    assert event_page(session, PageAsked("severity=error")).total == 2


def test_jobs_that_run_come_first(session: Session, ids: dict[str, str]) -> None:
    jobs = recent_jobs(session)
    assert [job.status for job in jobs] == ["started", "failed"]
    assert [(step.description, step.progress) for step in jobs[0].steps] == [("Sealing the disks", 42.0)]
    assert running_jobs(session) == jobs[:1]
    (host,) = host_details(session)
    assert [job.description for job in host.jobs] == [jobs[0].description]
    assert activity(session).running == 1
    assert ids


def test_counts_are_those_of_the_list(session: Session, ids: dict[str, str]) -> None:
    found = overview(session)
    assert (found.templates, found.sealed, found.unsealed, found.vms) == (36, 34, 2, 9)
    assert dict(found.statuses) == {"ok": 34, "locked": 1, "illegal": 1}
    for name, ends in (("audit", found.audits), ("proof", found.proofs)):
        assert dict(ends) == {"passed": 32, "failed": 1, "none": 3}
        for word, count in ends:
            assert template_page(session, PageAsked(f"{name}={word}")).total == count
    assert ids


def test_alerts_name_what_needs_somebody(session: Session, ids: dict[str, str]) -> None:
    texts = [alert.text for alert in alerts(session)]
    assert texts == [
        "Templates whose making could not be undone: 1",
        "Templates in use whose last audit has not passed: 1",
        "Templates in use whose last proof has not passed: 1",
        "Templates in use without a seal: 1",
    ]
    session.execute(sa.update(Host).values(status="non_responsive", status_detail="no route"))
    session.execute(sa.update(StorageDomain).values(status="unknown"))
    session.execute(sa.update(Template).values(status="ok", sealed=True, audit_passed=None, proof_passed=None))
    assert [(alert.text, alert.path) for alert in alerts(session)] == [
        ("Host local does not respond: no route", "/hosts"),
        ("Storage domain data cannot be used: no host that sees it is up.", "/storage"),
    ]
    assert ids


def test_seal_durations_are_those_of_the_latest_seals_in_their_order(session: Session) -> None:
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    for number in range(103):
        created = start + dt.timedelta(hours=number)
        add_template(session, f"t{number}", created=created, seal_report={"seconds": float(number)})
    add_template(session, "plain")
    assert [one.seconds for one in seal_durations(session)] == [float(number) for number in range(3, 103)]


def test_hosts_say_what_they_can(session: Session) -> None:
    host = session.scalars(sa.select(Host)).one()
    host.capabilities = {
        "memSize": "2048",
        "cpuModel": "Some CPU",
        "cpuThreads": "4",
        "operatingSystem": {"pretty_name": "Debian"},
        "vmseal": {
            "accelerator": "tcg",
            "sealers": ["appliance"],
            "profiles": ["sysprep"],
            "versions": {"qemu": "7.2"},
        },
    }
    session.flush()
    (shown,) = host_details(session)
    assert (shown.memory, shown.accelerator, shown.sealers, shown.system) == (2 * GIB, "tcg", ("appliance",), "Debian")
    assert shown.versions == (("qemu", "7.2"),)
    host.capabilities = {"memSize": "much", "vmseal": "?", "operatingSystem": None}
    session.flush()
    (shown,) = host_details(session)
    assert (shown.memory, shown.sealers, shown.system) == (0, (), "")


def test_storage_domains_say_how_full_they_are(session: Session) -> None:
    (shown,) = domain_details(session)
    assert (shown.used, shown.total, shown.disks) == (40 * GIB, 100 * GIB, 1)
    assert (shown.provisioned, shown.allocated) == (10 * GIB, GIB)
