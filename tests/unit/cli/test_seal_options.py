"""virt-sysprep's options as vmseal reads them."""

from __future__ import annotations

import inspect
import io
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from vmseal.cli import seal_command, seal_options
from vmseal.cli.exits import WrongUsage
from vmseal.cli.options import with_signature
from vmseal.cli.seal_command import OrderedCommand
from vmseal.cli.seal_options import SealOptions
from vmseal.cli.sysprep_options import Word
from vmseal.model.volume import VolumeFormat
from vmseal.seal.settings import MachineId

RAW, COW = VolumeFormat.RAW, VolumeFormat.COW


def words(*arguments: str) -> tuple[Word, ...]:
    """Return what the program's own parser makes of a command line."""
    seen: list[tuple[Word, ...]] = []

    def work(context: typer.Context, **_: object) -> None:
        seen.append(context.meta[seal_command.WORDS])

    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    app = typer.Typer()
    app.command("seal", cls=OrderedCommand)(with_signature(work, [context, *seal_command.parameters()]))
    finished = CliRunner().invoke(app, list(arguments))
    assert finished.exit_code == 0, finished.output
    return seen[0]


def read(*arguments: str) -> SealOptions:
    return seal_options.read(words(*arguments))


def formats(*arguments: str) -> list[VolumeFormat]:
    return [disk.format for disk in read(*arguments).disks]


def test_a_format_is_for_the_disks_that_follow() -> None:
    assert formats("-a", "a.img", "--format", "qcow2", "-a", "b", "-ac.raw", "--format=raw", "--add=d") == [
        RAW,
        COW,
        COW,
        RAW,
    ]


def test_auto_goes_by_the_ending_and_never_by_the_content() -> None:
    assert formats("--format", "raw", "-a", "a.qcow2", "--format", "auto", "-a", "b.qcow2") == [RAW, COW]
    with pytest.raises(WrongUsage, match="never guessed"):
        read("--format", "auto", "-a", "disk")


def test_operations_go_on_from_left_to_right() -> None:
    asked = read("-a", "a.raw", "--operations", "defaults,-logfiles", "--operation", "user-account")
    assert asked.operations == ["defaults", "-logfiles", "user-account"]
    assert read("-a", "a.raw", "--enable", "logfiles,tmp-files").operations == ["logfiles", "tmp-files"]
    assert read("-a", "a.raw").operations is None


def test_what_only_virt_sysprep_can_do_keeps_its_order() -> None:
    asked = read(
        "-a", "a.raw", "--sealer", "virt-sysprep", "--write", "/a:x", "--update", "--write", "/b:y", "--network"
    )
    assert asked.passed == ["--write", "/a:x", "--update", "--write", "/b:y", "--network"]


def test_the_rest_of_a_request(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"from a file\n")
    request = read(
        *("-a", "file:///srv/a.raw", "-nq", "--hostname", "x", "--no-erase", "--machine-id", "uninitialized"),
        *("--key", "/dev/sda2:key:a:b", "--key", f"all:file:{tmp_path}/key", "--mount-options", "/:noatime;/v:ro"),
        *("--operations", "all", "--keep-user-accounts", "ann,bob", "--no-selinux-relabel", "--deadline", "9"),
    ).request()
    assert request.disks[0].path == Path("/srv/a.raw")
    assert (request.dry_run, request.hostname, request.erase, request.deadline) == (True, "x", False, 9)
    assert [(key.selector, key.key) for key in request.keys] == [("/dev/sda2", b"a:b"), ("all", b"from a file")]
    assert (request.mount_options, request.keep_users) == ({"/": "noatime", "/v": "ro"}, ("ann", "bob"))
    assert (request.machine_id, request.selinux_relabel) == (MachineId.UNINITIALIZED, False)


def test_passphrases_come_from_standard_input_one_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("first\nsecond\n"))
    keys = read("-a", "a.raw", "--keys-from-stdin").request().keys
    assert [(key.selector, key.key) for key in keys] == [("all", b"first"), ("all", b"second")]


def test_a_key_is_never_shown() -> None:
    request = read("-a", "a.raw", "--key", "all:key:geheim").request()
    assert "geheim" not in repr(request)
    with pytest.raises(WrongUsage) as refused:
        read("-a", "a.raw", "--key", "geheim")
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "with -a"),
        ("-n", "with -a"),
        ("-d web", "virsh domblklist"),
        ("-a a.raw -d web", "virsh domblklist"),
        ("-a a.raw --format raw", "before the -a"),
        ("--format vmdk -a a.vmdk", "raw, qcow2 and auto"),
        ("-a disk.unknown", "does not tell its format"),
        ("-a ssh://host/disk.raw", "not on this host"),
        ("-a a.raw --enable a --enable b", "once only"),
        ("-a a.raw --operations a --enable b", "--operations before"),
        ("-a a.raw --enable a,-b", "leaving out"),
        ("-a a.raw --operations=", "without a name"),
        ("-a a.raw --enable=", "no operation"),
        ("-a a.raw --operations a,-", "without a name"),
        ("-a a.raw --keep-user-accounts ann", "user-account is off"),
        ("-a a.raw --operations all,-user-account --remove-user-accounts ann", "user-account is off"),
        ("-a a.raw --run-command x", "add --sealer virt-sysprep"),
        ("-a a.raw --network", "add --sealer virt-sysprep"),
        ("-a a.raw --sealer auto --install x", "add --sealer virt-sysprep"),
        ("-a a.raw --sealer magic", "auto, appliance, virt-sysprep"),
        ("-a a.raw --machine-id new", "empty, uninitialized, keep"),
        ("-a a.raw --key sda2:clevis", "DEVICE:key:"),
        ("-a a.raw --key all:file:/nowhere", "cannot be read"),
        ("-a a.raw --mount-options noatime", "POINT:OPTIONS"),
        ("-a a.raw --deadline soon", "number of seconds"),
        ("-a a.raw --deadline nan", "number of seconds"),
    ],
)
def test_wrong_usage_says_what_to_do(line: str, told: str) -> None:
    with pytest.raises(WrongUsage, match=told):
        read(*line.split())
