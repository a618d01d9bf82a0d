"""The real oVirt SDK against the API: what unmodified clients do must work. The commands behind it are fakes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import ovirtsdk4 as sdk
import pytest
from argon2 import PasswordHasher
from ovirtsdk4 import types
from tests.fakes.commands import FakeCommands, Installation, install, new_id
from tests.fakes.web import served

from vmseal.engine.accounts import Accounts
from vmseal.engine.api.app import create_app
from vmseal.engine.api.settings import ApiSettings
from vmseal.engine.database import Database
from vmseal.engine.requests import AddVmRequest, AddVmTemplateRequest, Commands, DiskChoice, Named, SealChoice
from vmseal.engine.tables import BLANK_TEMPLATE, Job
from vmseal.rpc.tls import Authority, TlsFiles

USER, PASSWORD = "admin@internal", "correct horse"


@dataclass(frozen=True)
class Engine:
    """A served API, and what is behind it."""

    url: str
    tls: TlsFiles | None
    commands: FakeCommands
    ids: Installation

    def connect(self, **more: object) -> sdk.Connection:
        settings: dict[str, object] = {
            "url": f"{self.url}/ovirt-engine/api",
            "username": USER,
            "password": PASSWORD,
            "ca_file": str(self.tls.ca) if self.tls else None,
            "timeout": 30,
        }
        return sdk.Connection(**(settings | more))

    def last_job(self) -> str:
        with self.commands.database.read() as session:
            return session.query(Job).order_by(Job.started.desc()).first().id  # type: ignore[union-attr]  # there is one


# As cheap as argon2 gets: each test signs in.
HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@contextmanager
def _engine(folder: Path, files: TlsFiles | None = None) -> Iterator[Engine]:
    database = Database(f"sqlite:///{folder}/vmseal.db")
    ids = install(database)
    fake = FakeCommands(database)
    commands: Commands = fake
    settings = ApiSettings(
        ca=files.ca if files else None, certificate=files.certificate if files else None, poll_interval=0.05
    )
    accounts = Accounts({USER: HASHER.hash(PASSWORD)}, hasher=HASHER)
    app = create_app(commands, database, accounts=accounts, settings=settings)
    key, certificate = (files.key, files.certificate) if files else (None, None)
    with served(app, key=key, certificate=certificate) as url:
        yield Engine(url, files, fake, ids)
    database.close()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with _engine(tmp_path) as engine:
        yield engine


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    folder = tmp_path_factory.mktemp("pki")
    authority = Authority(folder / "ca")
    authority.ensure()
    return authority.issue("engine", ["127.0.0.1", "localhost"], folder / "engine")


@pytest.fixture
def secure_engine(tmp_path: Path, tls: TlsFiles) -> Iterator[Engine]:
    with _engine(tmp_path, tls) as engine:
        yield engine


@pytest.fixture
def system(engine: Engine) -> Iterator[sdk.services.SystemService]:
    connection = engine.connect()
    yield connection.system_service()
    connection.close()


def _template(**more: object) -> types.Template:
    return types.Template(**({"name": "t1", "vm": types.Vm(name="source")} | more))


def test_how_to_seal_is_said_with_the_sdks_own_query(engine: Engine, system: sdk.services.SystemService) -> None:
    query = {"seal_profile": "thorough", "seal_sealer": "auto", "seal_erase": "false"}
    system.templates_service().add(_template(), seal=True, query=query)
    request = engine.commands.requests[0]
    assert isinstance(request, AddVmTemplateRequest)
    assert (request.seal, request.sealing) == (True, SealChoice("auto", "thorough", erase=False))


def test_the_connection_test_passes_and_the_version_is_4(engine: Engine) -> None:
    connection = engine.connect()
    assert connection.test(raise_exception=True)
    assert connection.system_service().get().product_info.version.major == 4
    connection.close()


def test_a_bad_password_is_an_authentication_error(engine: Engine) -> None:
    connection = engine.connect(password="wrong")
    with pytest.raises(sdk.AuthError, match="Cannot authenticate user"):
        connection.system_service().get()


def test_a_bad_token_is_an_authentication_error_with_code_401(engine: Engine) -> None:
    connection = engine.connect(username=None, password=None, token="no-such-token")
    with pytest.raises(sdk.AuthError):
        connection.system_service().get()


def test_a_token_that_was_revoked_is_replaced_by_signing_in_again(engine: Engine) -> None:
    first, second = engine.connect(), engine.connect()
    token = first.authenticate()
    second.close()
    other = engine.connect(token=token)
    assert other.system_service().vms_service().list()
    first.close()  # signs the token out
    again = engine.connect(token=token)
    assert again.system_service().vms_service().list()
    again.close()


def test_a_closed_connection_can_be_closed_again(engine: Engine) -> None:
    connection = engine.connect()
    connection.system_service().get()
    connection.close()
    connection.close()


def test_every_collection_is_listed(system: sdk.services.SystemService) -> None:
    assert [vm.name for vm in system.vms_service().list()] == ["source", "windows"]
    assert [template.name for template in system.templates_service().list()] == ["Blank"]
    assert [disk.name for disk in system.disks_service().list()] == ["source_disk1"]
    assert [domain.name for domain in system.storage_domains_service().list()] == ["data"]
    assert [host.status for host in system.hosts_service().list(all_content=False)] == [types.HostStatus.UP]
    assert [cluster.name for cluster in system.clusters_service().list()] == ["Default"]
    assert [center.status for center in system.data_centers_service().list()] == [types.DataCenterStatus.UP]
    assert system.jobs_service().list() == []
    assert system.events_service().list() == []
    assert system.networks_service().list() == []
    assert system.vnic_profiles_service().list() == []
    assert system.tags_service().list() == []
    assert [user.user_name for user in system.users_service().list()] == ["admin@internal-authz"]


def test_a_storage_domain_says_how_much_room_it_has(engine: Engine, system: sdk.services.SystemService) -> None:
    domain = system.storage_domains_service().storage_domain_service(engine.ids.storage_domain).get()
    assert (domain.available, domain.used, domain.type) == (60 << 30, 40 << 30, types.StorageDomainType.DATA)
    assert [center.id for center in domain.data_centers] == [engine.ids.data_center]


def test_blank_has_what_the_ansible_modules_read(system: sdk.services.SystemService) -> None:
    blank = system.templates_service().template_service(BLANK_TEMPLATE).get()
    assert blank.version.version_number == 1
    assert blank.os.type
    assert blank.bios.boot_menu.enabled is False
    assert blank.bios.type == types.BiosType.Q35_SEA_BIOS
    assert blank.memory_policy.guaranteed
    assert blank.sso.methods == []
    assert blank.usb.enabled is False
    assert blank.io.threads == 0
    assert blank.status == types.TemplateStatus.OK


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"seal": True}, True),
        ({"seal": False}, False),
        ({}, False),
        ({"query": {"seal": ""}}, True),
        ({"query": {"seal": "Yes"}}, True),
        ({"query": {"seal": "0"}}, False),
        ({"query": {"seal": "perhaps"}}, False),
    ],
)
def test_seal_of_a_template(
    engine: Engine, system: sdk.services.SystemService, arguments: dict[str, object], expected: bool
) -> None:
    added = system.templates_service().add(_template(), **arguments)
    assert added.status == types.TemplateStatus.LOCKED
    assert engine.commands.requests == [AddVmTemplateRequest(name="t1", vm=Named(name="source"), seal=expected)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"query": {"seal": "true"}}, True),
        ({"query": {"seal": "n"}}, False),
        ({}, None),
        ({"query": {"seal": ""}}, True),
    ],
)
def test_seal_of_a_vm_has_three_values(
    engine: Engine, system: sdk.services.SystemService, arguments: dict[str, object], expected: bool | None
) -> None:
    vm = types.Vm(name="clone", cluster=types.Cluster(name="Default"), template=types.Template(name="t1"))
    system.vms_service().add(vm, **arguments)
    request = AddVmRequest(name="clone", cluster=Named(name="Default"), template=Named(name="t1"), seal=expected)
    assert engine.commands.requests == [request]


def test_a_template_is_polled_until_it_is_ok(engine: Engine, system: sdk.services.SystemService) -> None:
    templates, headers = system.templates_service(), {"Correlation-Id": "run-1"}
    added = templates.add(_template(description="a & <b>"), seal=True, headers=headers)
    service = templates.template_service(added.id)
    vm = system.vms_service().vm_service(engine.ids.vm)
    assert (added.description, service.get().status) == ("", types.TemplateStatus.LOCKED) or added.description
    assert vm.get().status == types.VmStatus.IMAGE_LOCKED
    attachment = service.disk_attachments_service().list()[0]
    assert system.disks_service().disk_service(attachment.id).get().status == types.DiskStatus.LOCKED

    job = system.jobs_service().list(search="correlation_id=run-1")[0]
    steps = system.jobs_service().job_service(job.id).steps_service().list()
    assert job.status == types.JobStatus.STARTED
    assert [step.progress for step in steps] == [None, 42]
    assert steps[1].parent_step.id == steps[0].id
    assert steps[1].execution_host.id == engine.ids.host

    engine.commands.finish(job.id)
    done = service.get()
    assert (done.status, done.name, done.description) == (types.TemplateStatus.OK, "t1", "a & <b>")
    assert vm.get().status == types.VmStatus.DOWN
    assert system.disks_service().disk_service(attachment.id).get().status == types.DiskStatus.OK
    assert system.jobs_service().job_service(job.id).get().status == types.JobStatus.FINISHED
    assert [found.id for found in templates.list(search="name=t1 and sealed=true")] == [added.id]
    assert templates.list(search="sealed=false and name=t1") == []


def test_a_failed_seal_is_seen_in_template_job_and_event(engine: Engine, system: sdk.services.SystemService) -> None:
    added = system.templates_service().add(_template(), seal=True, headers={"Correlation-Id": "run-2"})
    engine.commands.fail(engine.last_job(), "no operating system was found\x1b[0m\x00")
    with pytest.raises(sdk.NotFoundError) as caught:
        system.templates_service().template_service(added.id).get()
    assert caught.value.code == 404
    assert system.vms_service().vm_service(engine.ids.vm).get().status == types.VmStatus.DOWN
    assert system.jobs_service().list(search="correlation_id=run-2")[0].status == types.JobStatus.FAILED
    newest, started = system.events_service().list(search="correlation_id=run-2", max=20)
    assert (newest.code, newest.severity, started.code) == (1324, types.LogSeverity.ERROR, 48)
    assert newest.template.name == "t1"
    assert newest.template.href is None  # it is gone, so there is nothing to follow
    assert newest.vm.id == engine.ids.vm
    assert "no operating system was found\ufffd[0m\ufffd" in newest.description


def test_a_template_is_removed(engine: Engine, system: sdk.services.SystemService) -> None:
    added = system.templates_service().add(_template())
    service = system.templates_service().template_service(added.id)
    with pytest.raises(sdk.Error, match=r"\[Cannot remove Template\. The template is being made\.\]") as caught:
        service.remove()
    assert caught.value.code == 409
    engine.commands.finish(engine.last_job())
    service.remove()
    assert service.get().status == types.TemplateStatus.LOCKED
    engine.commands.finish(engine.last_job())
    with pytest.raises(sdk.NotFoundError):
        service.get()


def test_a_template_is_renamed(engine: Engine, system: sdk.services.SystemService) -> None:
    added = system.templates_service().add(_template())
    service = system.templates_service().template_service(added.id)
    changed = service.update(types.Template(name="t2", description="new"))
    assert (changed.name, changed.description) == ("t2", "new")


def test_disks_of_a_new_template_can_be_chosen(engine: Engine, system: sdk.services.SystemService) -> None:
    disk = types.Disk(
        id=engine.ids.disk,
        name="copy",
        format=types.DiskFormat.RAW,
        sparse=False,
        storage_domains=[types.StorageDomain(name="data")],
    )
    vm = types.Vm(id=engine.ids.vm, disk_attachments=[types.DiskAttachment(disk=disk)])
    version = types.TemplateVersion(version_name="v2", base_template=types.Template(id=new_id()))
    system.templates_service().add(_template(vm=vm, version=version, cluster=types.Cluster(name="Default")))
    request = engine.commands.requests[0]
    assert isinstance(request, AddVmTemplateRequest)
    assert request.disks == (
        DiskChoice(
            disk_id=engine.ids.disk,
            name="copy",
            format="raw",
            sparse=False,
            storage_domain_id=engine.ids.storage_domain,
        ),
    )
    assert (request.version_name, request.base_template_id) == ("v2", version.base_template.id)
    assert (request.vm, request.cluster) == (Named(id=engine.ids.vm), Named(name="Default"))


@pytest.mark.parametrize(
    ("template", "code", "words"),
    [
        (types.Template(vm=types.Vm(name="source")), 400, r"Template \[name\] required for addFromVm"),
        (types.Template(name="t"), 400, r"Template \[vm.id\|name\] required for addFromVm"),
        (types.Template(name="t", vm=types.Vm(id="nonsense")), 400, "is not a UUID"),
        (types.Template(name="t", vm=types.Vm(name="nobody")), 404, "VM nobody does not exist"),
        (types.Template(name="t", vm=types.Vm(name="windows")), 400, r"\[Cannot add Template\. Windows guests cannot"),
    ],
)
def test_refusals_of_templates(
    system: sdk.services.SystemService, template: types.Template, code: int, words: str
) -> None:
    with pytest.raises(sdk.Error, match=words) as caught:
        system.templates_service().add(template, seal=True)
    assert caught.value.code == code
    assert caught.value.fault.reason


def test_a_second_template_of_a_locked_vm_is_a_conflict(system: sdk.services.SystemService) -> None:
    system.templates_service().add(_template())
    with pytest.raises(sdk.Error, match=r"\[Cannot add Template\. The VM is not down\.\]") as caught:
        system.templates_service().add(_template(name="t2"))
    assert caught.value.code == 409


def test_a_crash_is_a_fault_without_internals(engine: Engine, system: sdk.services.SystemService) -> None:
    engine.commands.crash = RuntimeError("secret path /root/x")
    with pytest.raises(sdk.Error) as caught:
        system.templates_service().add(_template())
    assert caught.value.code == 500
    assert "secret" not in str(caught.value)


def _await_job(system: sdk.services.SystemService) -> None:
    deadline = time.monotonic() + 30
    while not system.jobs_service().list():
        assert time.monotonic() < deadline, "the job did not start"


def test_waiting_for_the_end_answers_what_was_made(engine: Engine, system: sdk.services.SystemService) -> None:
    with ThreadPoolExecutor(1) as pool:
        headers = {"X-Ovirt-Expect": "201-created"}
        future = pool.submit(engine.connect().system_service().templates_service().add, _template(), headers=headers)
        _await_job(system)
        assert not future.done()
        engine.commands.finish(engine.last_job())
        assert future.result(30).status == types.TemplateStatus.OK


def test_waiting_for_the_end_answers_why_it_failed(engine: Engine, system: sdk.services.SystemService) -> None:
    with ThreadPoolExecutor(1) as pool:
        headers = {"Expect": "201-created"}
        future = pool.submit(engine.connect().system_service().templates_service().add, _template(), headers=headers)
        _await_job(system)
        engine.commands.fail(engine.last_job(), "virt-sysprep said no")
        with pytest.raises(sdk.Error, match="virt-sysprep said no"):
            future.result(30)


def test_links_and_references_are_followed(engine: Engine, system: sdk.services.SystemService) -> None:
    connection = engine.connect()
    vm = system.vms_service().list(search="name=source")[0]
    attachment = connection.follow_link(vm.disk_attachments)[0]
    disk = connection.follow_link(attachment.disk)
    assert (disk.id, disk.storage_type) == (engine.ids.disk, types.DiskStorageType.IMAGE)
    cluster = connection.follow_link(vm.cluster)
    assert connection.follow_link(cluster.data_center).name == "Default"
    assert connection.follow_link(disk.disk_profile).name == "data"
    assert connection.follow_link(vm.template).name == "Blank"
    assert connection.follow_link(vm.nics) == []
    connection.close()


def test_follow_inlines_links_and_references(system: sdk.services.SystemService) -> None:
    vm = system.vms_service().list(search="name=source", follow="disk_attachments.disk,cluster.datacenter")[0]
    assert vm.disk_attachments[0].disk.provisioned_size == 10 << 30
    assert vm.cluster.name == "Default"
    assert vm.cluster.data_center.name == "Default"


def test_with_the_version_prefix_links_are_followed_too(engine: Engine) -> None:
    connection = engine.connect(url=f"{engine.url}/ovirt-engine/api/v4")
    vm = connection.system_service().vms_service().list()[0]
    assert connection.follow_link(vm.cluster).name == "Default"
    connection.close()


def test_events_can_be_added_and_listed_from_an_id_on(system: sdk.services.SystemService) -> None:
    events = system.events_service()
    one, two = (
        events.add(types.Event(description=text, origin="backup", custom_id=7, severity=types.LogSeverity.WARNING))
        for text in ("one", "two")
    )
    assert (one.origin, one.custom_id, one.severity) == ("backup", 7, types.LogSeverity.WARNING)
    assert [event.description for event in events.list(from_=int(one.id))] == ["two"]
    assert [event.description for event in events.list(max=1)] == ["two"]
    assert events.event_service(two.id).get().description == "two"
    assert [event.id for event in events.list(search="origin=backup and message=*on* and severity=warning")] == [one.id]


@pytest.mark.parametrize(
    ("search", "names"),
    [
        ('name="source" and cluster="Default"', ["source"]),
        ("name=source and datacenter=Default", ["source"]),
        ("name=SOURCE", ["source"]),
        ("name=s*ce", ["source"]),
        ("status=down", ["source", "windows"]),
        ("storage.name=data", ["source"]),
        ("name != source", ["windows"]),
        ("name=source or name=windows sortby name desc", ["windows", "source"]),
        ("wind", ["windows"]),
        ("sortby name page 2", []),
        ("name=_ource", []),
        ("", ["source", "windows"]),
    ],
)
def test_search_of_vms(system: sdk.services.SystemService, search: str, names: list[str]) -> None:
    assert [vm.name for vm in system.vms_service().list(search=search, follow="")] == names


def test_search_can_mind_the_case(system: sdk.services.SystemService) -> None:
    assert system.vms_service().list(search="name=SOURCE", case_sensitive=True) == []
    assert system.vms_service().list(search="name=SOU*", case_sensitive=True) == []
    assert len(system.vms_service().list(search="name=sou*", case_sensitive=True, max=5)) == 1


def test_a_search_that_makes_no_sense_is_refused(system: sdk.services.SystemService) -> None:
    for search in ("nonsense=1", "name=", "name=a and", "sealed=maybe"):
        with pytest.raises(sdk.Error) as caught:
            system.templates_service().list(search=search)
        assert caught.value.code == 400


def test_searches_across_kinds(engine: Engine, system: sdk.services.SystemService) -> None:
    ids = engine.ids
    disks, templates = system.disks_service(), system.templates_service()
    assert [disk.id for disk in disks.list(search='name="source_disk1" and Storage.name="data"')] == [ids.disk]
    assert [disk.id for disk in disks.list(search=f"id={ids.disk} and vm_names=source")] == [ids.disk]
    assert disks.list(search="disk_type=lun") == []
    assert [template.name for template in templates.list(search="vm.name=source")] == ["Blank"]
    assert [template.name for template in templates.list(search="name=Blank and datacenter=Default")] == ["Blank"]
    centers = system.data_centers_service().list(search="Clusters.name = Default")
    assert [center.id for center in centers] == [ids.data_center]


def test_what_is_not_supported_is_refused_with_a_reason(engine: Engine, system: sdk.services.SystemService) -> None:
    with pytest.raises(sdk.Error, match="Cannot add Virtual Disk"):
        system.disks_service().add(types.Disk(name="d"))
    with pytest.raises(sdk.Error, match="Cannot run VM"):
        system.vms_service().vm_service(engine.ids.vm).start()
    with pytest.raises(sdk.Error, match="Blank template is built in"):
        system.templates_service().template_service(BLANK_TEMPLATE).remove()


def test_requests_at_the_same_time_are_served(engine: Engine) -> None:
    def work(number: int) -> str:
        connection = engine.connect()
        system = connection.system_service()
        vm = types.Vm(name=f"vm{number}", cluster=types.Cluster(name="Default"), template=types.Template(name="t"))
        added = system.vms_service().add(vm)
        found = system.vms_service().list(search=f"name=vm{number}")
        connection.close()
        assert [one.id for one in found] == [added.id]
        return str(added.id)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(work, range(16)))) == 16


def test_over_https_with_the_engines_ca(secure_engine: Engine) -> None:
    connection = secure_engine.connect()
    system = connection.system_service()
    added = system.templates_service().add(_template(), seal=True)
    assert connection.follow_link(added.cluster).name == "Default"
    secure_engine.commands.finish(secure_engine.last_job())
    assert system.templates_service().template_service(added.id).get().status == types.TemplateStatus.OK
    connection.close()


def test_over_https_with_a_ca_that_was_downloaded(secure_engine: Engine, tmp_path: Path) -> None:
    query = "resource=ca-certificate&format=X509-PEM-CA"
    answer = httpx.get(f"{secure_engine.url}/ovirt-engine/services/pki-resource?{query}", verify=False)  # noqa: S501  this is how a client gets the CA
    assert answer.headers["content-type"] == "application/x-x509-ca-cert"
    ca = tmp_path / "ca.pem"
    ca.write_bytes(answer.content)
    connection = secure_engine.connect(ca_file=str(ca))
    assert connection.test(raise_exception=True)
    connection.close()


def test_over_https_another_ca_is_refused(secure_engine: Engine, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    other.ensure()
    files = other.issue("other", ["127.0.0.1"], tmp_path / "files")
    connection = secure_engine.connect(ca_file=str(files.ca))
    with pytest.raises(sdk.Error):
        connection.system_service().get()
