"""The oVirt SDK, unmodified, makes a sealed template on a real engine and host agent, over http and over https.

Only virt-sysprep is a stand-in here (two seconds instead of forty); test_seal_guests.py runs the real one.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import ovirtsdk4 as sdk
import pytest
from ovirtsdk4 import types
from tests.crash.stack import MIB, Stack, is_sealed, make_disk, wait_for

pytestmark = pytest.mark.timeout(300)

CORRELATION = "sdk-end-to-end"


class SecureStack(Stack):
    """A stack that serves https with a certificate of its own CA, and whose administrator chose the password."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, environment={"VMSEAL_ADMIN_PASSWORD_FILE": str(folder / "password")})
        (folder / "password").write_text("chosen by hand\n")

    @property
    def password(self) -> str:
        """The administrator's password."""
        return "chosen by hand"

    def command(self, *arguments: str) -> list[str]:
        """Return the command line; ``up`` is told to serve https."""
        return super().command(*arguments, *(["--https"] if arguments == ("up",) else []))


def import_vm(stack: Stack, name: str, disk: Path) -> None:
    """Import with the CLI, which finds the engine, its CA and the password in the state folder."""
    command = stack.command("vm", "import", name, "-a", str(disk), "--format", "raw")
    subprocess.run(command, env=stack.environment, check=True, timeout=120)


@pytest.fixture(scope="module", params=[Stack, SecureStack], ids=["http", "https"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    kind: type[Stack] = request.param
    stack = kind(tmp_path_factory.mktemp("sdk"))
    try:
        stack.start()
        disk = make_disk(stack.sources / "source.img", 16 * MIB, seed=1)
        import_vm(stack, "source", disk)
        yield stack
    finally:
        stack.close()


@pytest.fixture
def connection(stack: Stack) -> Iterator[sdk.Connection]:
    secure = isinstance(stack, SecureStack)
    made = sdk.Connection(
        url=f"{'https' if secure else 'http'}://127.0.0.1:{stack.port}/ovirt-engine/api",
        username="admin@internal",
        password=stack.password
        if isinstance(stack, SecureStack)
        else (stack.state / "engine" / "admin-password").read_text().strip(),
        ca_file=str(stack.state / "pki" / "ca" / "ca.pem") if secure else None,
    )
    with contextlib.closing(made):
        yield made


def wait_for_template(service: sdk.services.TemplateService) -> types.Template | None:
    """Poll as scripts do; None when the template has vanished."""

    def settled() -> list[types.Template | None]:
        try:
            template = service.get()
        except sdk.NotFoundError:
            return [None]
        return [template] if template.status != types.TemplateStatus.LOCKED else []

    return wait_for("the template is settled", settled, deadline=120, poll=0.3)[0]


def test_a_script_for_ovirt_makes_and_removes_a_sealed_template(stack: Stack, connection: sdk.Connection) -> None:
    system = connection.system_service()
    templates = system.templates_service()
    added = templates.add(
        types.Template(name="sealed", vm=types.Vm(name="source")),
        seal=True,
        headers={"Correlation-Id": CORRELATION},
    )
    service = templates.template_service(added.id)
    [vm] = system.vms_service().list(search="name=source")
    assert vm.status == types.VmStatus.IMAGE_LOCKED
    with pytest.raises(sdk.Error, match="template"):
        templates.add(types.Template(name="another", vm=types.Vm(name="source")), seal=True)
    template = wait_for_template(service)
    assert template is not None
    assert template.status == types.TemplateStatus.OK
    assert [each.id for each in templates.list(search="name=sealed and sealed=true")] == [added.id]
    [attachment] = connection.follow_link(template.disk_attachments)
    assert system.disks_service().disk_service(attachment.id).get().status == types.DiskStatus.OK
    events = system.events_service().list(search=f"correlation_id={CORRELATION}")
    # 20024: not audited, for the stand-ins' disks are no guests; 20030: there is a statement.
    assert [event.code for event in events] == [20030, 51, 20024, 48]
    [job] = system.jobs_service().list(search=f"correlation_id={CORRELATION}")
    assert job.status == types.JobStatus.FINISHED
    assert all(step.status == types.StepStatus.FINISHED for step in connection.follow_link(job.steps))
    [volume] = [each for each in stack.volumes() if each.image == attachment.id]
    assert volume.state == ("SHARED", "LEGAL", 3)
    assert is_sealed(volume.path)
    service.remove()
    assert wait_for_template(service) is None


def test_a_failed_seal_says_why(stack: Stack, connection: sdk.Connection) -> None:
    disk = make_disk(stack.sources / "broken.img", 4 * MIB, seed=2)
    with disk.open("r+b") as file:
        file.write(b"REFUSE")  # a word to the stand-in
    import_vm(stack, "broken", disk)
    system = connection.system_service()
    added = system.templates_service().add(
        types.Template(name="never", vm=types.Vm(name="broken")), seal=True, headers={"Correlation-Id": "why"}
    )
    assert wait_for_template(system.templates_service().template_service(added.id)) is None
    failure, start = system.events_service().list(search="correlation_id=why")
    assert (failure.code, start.code) == (1324, 48)
    assert "the stand-in refuses this disk" in failure.description
    [job] = system.jobs_service().list(search="correlation_id=why")
    assert job.status == types.JobStatus.FAILED
    assert {vm.status for vm in system.vms_service().list()} == {types.VmStatus.DOWN}
