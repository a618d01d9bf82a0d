"""What pages read: lists in pages, tasks with their phases, and what forms offer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.commands import FakeCommands, Installation, install, new_id

from vmseal.engine.database import Database
from vmseal.engine.jobs import derived_id
from vmseal.engine.queries.choices import base_template_choices, base_template_id, domain_choices, sealing_words
from vmseal.engine.queries.language import SearchError
from vmseal.engine.queries.paging import PageAsked
from vmseal.engine.queries.tasks import SEALED, UNSEALED, task_detail
from vmseal.engine.queries.vms import vm_detail, vm_page
from vmseal.engine.requests import AddVmTemplateRequest, Caller, Named
from vmseal.engine.tables import Host, Job, Step, Template, Vm

CALLER = Caller("admin@internal-authz", "c1")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Give a database."""
    made = Database(f"sqlite:///{tmp_path}/vmseal.db")
    yield made
    made.close()


@pytest.fixture
def ids(database: Database) -> Installation:
    """Put an installation there."""
    return install(database)


def add_vms(database: Database, ids: Installation, number: int) -> None:
    with database.session() as session:
        session.add_all(Vm(id=new_id(), name=f"vm{each:05}", cluster_id=ids.cluster) for each in range(number))


def names(database: Database, asked: PageAsked) -> list[str]:
    with database.read() as session:
        return [row.name for row in vm_page(session, asked).rows]


def test_pages_are_searched_sorted_and_cut(database: Database, ids: Installation) -> None:
    add_vms(database, ids, 60)
    with database.read() as session:
        page = vm_page(session, PageAsked("name=vm*", number=2))
        assert (page.total, page.number, len(page.rows), page.rows[0].name) == (60, 2, 25, "vm00025")
        last = vm_page(session, PageAsked("name=vm*", number=99))
        assert (last.number, [row.name for row in last.rows][-1], len(last.rows)) == (3, "vm00059", 10)
        assert vm_page(session, PageAsked("name=nothing")).total == 0
        source = vm_page(session, PageAsked(f"id={ids.vm}")).rows[0]
        assert (source.disks, source.size, source.work) == (1, 10 << 30, None)
    assert names(database, PageAsked("name=vm*", sort="name", descending=True, size=1)) == ["vm00059"]
    assert names(database, PageAsked("name=vm* sortby name", sort="name", descending=True, size=1)) == ["vm00000"]


@pytest.mark.parametrize("asked", [PageAsked("colour=red"), PageAsked("name="), PageAsked(sort="disk.name")])
def test_a_search_that_makes_no_sense_is_refused(database: Database, ids: Installation, asked: PageAsked) -> None:
    with pytest.raises(SearchError):
        names(database, asked)


def test_running_work_is_shown_with_what_it_makes_and_locks(database: Database, ids: Installation) -> None:
    request = AddVmTemplateRequest(name="t", vm=Named(id=ids.vm), seal=True)
    started = FakeCommands(database).add_vm_template(request, CALLER)
    with database.read() as session:
        task = task_detail(session, started.job_id)
        assert task is not None
        assert (task.kind, task.is_running, task.is_undoing, task.was_undone) == ("template", True, False, False)
        assert task.phases == SEALED
        (step,) = task.steps
        assert (step.phase, step.progress, step.detail, step.host) == ("SEAL", 41.6, "removing ssh keys", "local")
        assert task_detail(session, new_id()) is None


def test_a_step_knows_the_size_of_its_disk_and_an_unsealed_template_its_phases(
    database: Database, ids: Installation
) -> None:
    commands = FakeCommands(database)
    started = commands.add_vm_template(AddVmTemplateRequest(name="t", vm=Named(id=ids.vm)), CALLER)
    with database.session() as session:
        template = session.get_one(Template, started.entity_id)
        top = next(step for step in session.get_one(Job, started.job_id).steps if step.parent_id is None)
        copy = derived_id(started.job_id, "step", "CREATE_TEMPLATE", template.attachments[0].disk_id)
        session.add(
            Step(
                id=copy, job_id=started.job_id, parent_id=top.id, number=3, phase="CREATE_TEMPLATE", description="Copy"
            )
        )
    with database.read() as session:
        task = task_detail(session, started.job_id)
        assert task is not None
        assert task.phases == UNSEALED
        assert {step.description: step.size for step in task.steps} == {"Sealing": 0, "Copy": 10 << 30}


def test_a_failed_template_is_gone_and_its_task_says_of_what_it_was(database: Database, ids: Installation) -> None:
    commands = FakeCommands(database)
    started = commands.add_vm_template(AddVmTemplateRequest(name="t", vm=Named(id=ids.vm), seal=True), CALLER)
    commands.fail(started.job_id, "no operating system")
    with database.read() as session:
        task = task_detail(session, started.job_id)
    assert task is not None
    assert (task.kind, task.was_undone, task.reason) == ("", True, "no operating system")
    assert (task.vm_id, task.template_name) == (ids.vm, "t")
    assert task.messages[-1] == "Sealing t of source failed: no operating system"
    assert isinstance(task.ended, dt.datetime)


def test_forms_offer_what_there_is(database: Database, ids: Installation) -> None:
    commands = FakeCommands(database)
    started = commands.add_vm_template(AddVmTemplateRequest(name="Base_1", vm=Named(id=ids.vm)), CALLER)
    with database.session() as session:
        assert base_template_choices(session, "") == (), "it is locked"
        session.get_one(Host, ids.host).capabilities = {"vmseal": {"sealers": ["auto"], "profiles": ["thorough"]}}
    commands.finish(started.job_id)
    with database.read() as session:
        assert [one.name for one in base_template_choices(session, "base_")] == ["Base_1"]
        assert base_template_choices(session, "base%") == ()
        assert base_template_id(session, "Base_1") == started.entity_id
        assert base_template_id(session, "base_1") is None
        assert (sealing_words(session).sealers, sealing_words(session).profiles) == (("auto",), ("thorough",))
        assert [(one.name, one.available) for one in domain_choices(session)] == [("data", 60 << 30)]
        detail = vm_detail(session, ids.vm)
        assert detail is not None
        assert [(disk.name, disk.format, disk.size) for disk in detail.disks] == [("source_disk1", "cow", 10 << 30)]
        assert vm_detail(session, new_id()) is None
