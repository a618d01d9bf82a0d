"""Operations that need code, and how operations are run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.unit.seal.guests import DEBIAN, RHEL, listing, make, plant, seal

from vmseal.seal.catalogue import DeleteLines, Kind, OnlyIf, Operation, Profile, Write
from vmseal.seal.errors import SealRefused
from vmseal.seal.first_boot import CA_STORE
from vmseal.seal.report import OperationReport
from vmseal.seal.settings import MachineId, Settings

OPENSUSE = 'ID="opensuse-leap"\nVERSION_ID="15.6"\n'
ACCOUNTS = (
    "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\n"
    "eve:x:1002:1002::/home/bob:/bin/sh\n..:x:1003:1003::/:/bin/sh\nsvc:x:900:900::/srv:/bin/sh\n"
    "nobody:x:65534:65534::/:/x\nodd\n"
)


@pytest.fixture
def debian(tmp_path: Path) -> Path:
    return make(tmp_path / "guest", DEBIAN)


def only(reports: list[OperationReport], name: str) -> OperationReport:
    return next(report for report in reports if report.name == name)


def operation(name: str = "own", **parts: object) -> Operation:
    return Operation(name=name, why="test", kind=Kind.LOG, profile=Profile.NONE, **parts)  # type: ignore[arg-type]  # any field, of its type


def test_the_machine_id_can_be_marked_uninitialized_or_kept(debian: Path) -> None:
    plant(debian, "/etc/machine-id", "0" * 32 + "\n")
    plant(debian, "/var/lib/dbus/machine-id", "0" * 32 + "\n")
    kept = only(seal(debian, "machine-id", settings=Settings(machine_id=MachineId.KEEP)), "machine-id")
    assert [item.path for item in kept.kept] == ["/etc/machine-id", "/var/lib/dbus/machine-id"]
    assert kept.changed == 0
    seal(debian, "machine-id", settings=Settings(machine_id=MachineId.UNINITIALIZED))
    assert (debian / "etc/machine-id").read_text() == "uninitialized\n"
    assert (debian / "var/lib/dbus/machine-id").read_text() == ""


@pytest.mark.parametrize("choice", [MachineId.EMPTY, MachineId.UNINITIALIZED])
def test_a_machine_id_that_is_a_link_is_left(debian: Path, choice: MachineId) -> None:
    (debian / "etc/machine-id").symlink_to("/run/machine-id")
    plant(debian, "/run/machine-id", "live\n")
    seal(debian, "machine-id", settings=Settings(machine_id=choice))
    assert (debian / "etc/machine-id").is_symlink()
    assert (debian / "run/machine-id").read_text() == "live\n"


def test_the_host_name_on_suse_and_on_others_with_systemd(tmp_path: Path) -> None:
    suse = make(tmp_path / "suse", OPENSUSE)
    (suse / "etc/HOSTNAME").symlink_to("hostname")
    plant(suse, "/etc/hostname", "old\n")
    seal(suse, "customize", settings=Settings(hostname="new.example.com"))
    assert (suse / "etc/hostname").read_text() == "new.example.com"
    arch = make(tmp_path / "arch", "ID=arch\n")
    seal(arch, "customize")
    assert (arch / "etc/hostname").read_text() == "localhost\n"


def test_the_host_name_of_an_old_red_hat_guest(tmp_path: Path) -> None:
    guest = make(tmp_path / "guest", "")
    (guest / "usr/sbin/init").unlink()
    plant(guest, "/usr/sbin/init")
    plant(guest, "/etc/redhat-release", "CentOS release 6.10 (Final)\n")
    plant(guest, "/etc/sysconfig/network", "HOSTNAME=old\nNETWORKING=yes\n")
    seal(guest, "customize")
    assert (guest / "etc/sysconfig/network").read_text() == "NETWORKING=yes\nHOSTNAME=localhost\n"
    assert not (guest / "etc/hostname").exists()


def test_a_host_name_file_that_is_a_folder_is_said_and_left(debian: Path) -> None:
    (debian / "etc/hostname").mkdir()
    report = only(seal(debian, "customize"), "customize")
    assert report.warnings == ["/etc/hostname is no regular file; it was left alone"]


def test_a_guest_that_makes_host_keys_itself_gets_no_unit(debian: Path) -> None:
    plant(debian, "/usr/lib/systemd/system/sshd-keygen.service")
    seal(debian, "customize")
    assert not (debian / "etc/systemd").exists()


def accounts(guest: Path) -> Path:
    plant(guest, "/etc/passwd", ACCOUNTS)
    plant(guest, "/etc/shadow", "root:x:1::\nada:hash:1::\nbob:hash:1::\neve:hash:1::\n")
    plant(guest, "/etc/group", "root:x:0:\nada:x:1000:\nsudo:x:27:ada,bob\n")
    plant(guest, "/etc/gshadow", "root:::\nada:!::\nsudo:*:ada:bob,ada\n")
    plant(guest, "/etc/subuid", "ada:100000:65536\nbob:165536:65536\n")
    for path in ("/home/ada/x", "/home/bob/x", "/srv/x", "/var/mail/ada", "/var/spool/mail/bob"):
        plant(guest, path)
    return guest


def test_accounts_of_people_are_removed_with_all_that_is_theirs(debian: Path) -> None:
    report = only(seal(accounts(debian), "user-account"), "user-account")
    assert (debian / "etc/passwd").read_text() == (
        "root:x:0:0::/root:/bin/sh\nsvc:x:900:900::/srv:/bin/sh\nnobody:x:65534:65534::/:/x\nodd\n"
    )
    assert (debian / "etc/shadow").read_text() == "root:x:1::\n"
    assert (debian / "etc/group").read_text() == "root:x:0:\nsudo:x:27:\n"
    assert (debian / "etc/gshadow").read_text() == "root:::\nsudo:*::\n"
    assert (debian / "etc/subuid").read_text() == ""
    left = listing(debian)
    assert [path for path in ("/home/ada", "/home/bob", "/var/mail/ada", "/var/spool/mail/bob") if path in left] == []
    assert {"/srv/x", "/etc/passwd", "/var/mail", "/var/spool"} <= set(left)
    assert [item.path for item in report.kept] == ["/"]


def test_accounts_to_keep_and_to_remove_are_named(debian: Path) -> None:
    seal(accounts(debian), "user-account", settings=Settings(keep_users=("bob",), remove_users=("eve", "bob")))
    assert (debian / "etc/passwd").read_text() == ACCOUNTS.replace("eve:x:1002:1002::/home/bob:/bin/sh\n", "")
    assert (debian / "home/bob/x").exists()  # it is bob's as well


def test_after_removed_certificates_clones_rebuild_the_bundles(tmp_path: Path) -> None:
    guest = make(tmp_path / "guest", RHEL)
    unit = guest / "etc/systemd/system/vmseal-ca-store.service"
    seal(guest, "ipa-client")
    assert not unit.exists()
    plant(guest, "/etc/pki/ca-trust/source/anchors/ipa-ca.crt")
    assert only(seal(guest, "ipa-client"), "ipa-client").warnings == []
    assert unit.read_text() == CA_STORE.content()
    enabled = guest / "etc/systemd/system/multi-user.target.wants/vmseal-ca-store.service"
    assert str(enabled.readlink()) == "/etc/systemd/system/vmseal-ca-store.service"


def test_removed_certificates_leave_a_warning_where_no_unit_can_run(tmp_path: Path) -> None:
    guest = make(tmp_path / "guest", RHEL)
    (guest / "usr/sbin/init").unlink()
    plant(guest, "/etc/pki/ca-trust/source/anchors/ipa-ca.crt")
    assert "update-ca-trust extract" in only(seal(guest, "ipa-client"), "ipa-client").warnings[0]
    assert only(seal(guest, "ipa-client"), "ipa-client").warnings == []


def test_what_keeps_an_operation_from_its_work_is_reported(debian: Path) -> None:
    plant(debian, "/data/a")
    plant(debian, "/data/running")
    one = operation(remove=("/data/*",), unless=("/data/running",), unless_why="it runs")
    report = seal(debian, operations=(one,))[0]
    assert [(item.path, item.why) for item in report.kept] == [("/data/a", "it runs"), ("/data/running", "it runs")]
    assert (debian / "data/a").exists()


def test_lines_are_dropped_and_files_without_them_untouched(debian: Path) -> None:
    plant(debian, "/etc/a", "x=1\r\n y=2\nkey: z")
    plant(debian, "/etc/b", "none\r\n")
    (debian / "etc/c").write_bytes(b"\xff\nx=\xfe")
    seal(
        debian,
        operations=(operation(delete_lines=(DeleteLines(paths=("/etc/[abc]",), prefixes=("x=",), pattern="^key"),)),),
    )
    assert (debian / "etc/a").read_bytes() == b" y=2\n"
    assert (debian / "etc/b").read_bytes() == b"none\r\n"
    assert (debian / "etc/c").read_bytes() == b"\xff\n"


def test_files_are_written_only_where_asked(debian: Path) -> None:
    plant(debian, "/etc/there")
    seal(debian, operations=(operation(write=(
        Write(path="/etc/there", content="new", only_if=OnlyIf.EXISTS),
        Write(path="/etc/absent", content="new", only_if=OnlyIf.EXISTS),
        Write(path="/etc/made", content="new", mode=0o600, only_if=OnlyIf.MISSING),
        Write(path="/etc/passwd", content="new", only_if=OnlyIf.MISSING),
        Write(path="/nowhere/x", content="new", only_if=OnlyIf.DIRECTORY_EXISTS),
        Write(path="/new/folder/x", content="new"),
    )),))  # fmt: skip
    left = listing(debian)
    assert [path for path, content in left.items() if content == b"new"] == ["/etc/made", "/etc/there", "/new/folder/x"]
    assert (debian / "etc/made").stat().st_mode & 0o777 == 0o600


def test_an_operation_for_other_guests_does_nothing_and_says_so(debian: Path) -> None:
    report = only(seal(debian, "rhn-systemid"), "rhn-systemid")
    assert (report.detail, report.removed) == ("not for this guest", 0)


def test_a_failure_says_which_operation_and_what_was_done(debian: Path, tmp_path: Path) -> None:
    plant(debian, "/etc/a")
    small = debian / "small"
    small.mkdir()
    file_system = tmp_path / "image"
    file_system.write_bytes(bytes(300 << 10))
    subprocess.run(["mkfs.ext4", "-q", file_system], check=True)
    subprocess.run(["mount", "-o", "loop", file_system, small], check=True)
    try:
        big = operation("b", write=(Write(path="/small/x", content="x" * (1 << 20)),))
        with pytest.raises(SealRefused, match=r"operation b failed: No space left.*done before it: a") as error:
            seal(debian, operations=(operation("a", remove=("/etc/a",)), big))
    finally:
        subprocess.run(["umount", small], check=True)
    assert (error.value.reason, error.value.untouched) == ("no-space", False)


@pytest.mark.parametrize("name", ["", "-a", "a..b", "a b", "a\nb", "x" * 65, "a/b", "ä"])
def test_host_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(SealRefused, match="is not a host name"):
        Settings.from_json({"hostname": name})


def test_settings_come_from_the_request() -> None:
    settings = Settings.from_json({"hostname": "h1", "machine_id": "keep", "keep_users": ["ada"], "erase": True})
    assert settings == Settings(hostname="h1", machine_id=MachineId.KEEP, keep_users=("ada",))
    with pytest.raises(SealRefused, match="machine_id is 'full'; there are empty, uninitialized, keep"):
        Settings.from_json({"machine_id": "full"})
