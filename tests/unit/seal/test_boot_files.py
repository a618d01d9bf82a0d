"""Which kernel a guest's boot loader starts, as its configuration says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vmseal.seal import boot_files
from vmseal.seal.boot_files import ALIGNMENT, BootFiles, Entry
from vmseal.seal.tree import Tree

# As grub-mkconfig of Debian 12 writes it, without what makes it colourful.
DEBIAN = """
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="%s"
fi
function savedefault {
  if [ -z "${boot_once}" ]; then
    saved_entry="${chosen}"
  fi
}
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-0' {
	load_video
	insmod gzio
	if [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
	search --no-floppy --fs-uuid --set=root 0-0
	echo	'Loading Linux 6.1.0-9 ...'
	linux	/boot/vmlinuz-9 root=UUID=0-0 ro  quiet $vt_handoff
	initrd	/boot/intel.img /boot/initrd.img-9
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-0' {
	menuentry 'Debian GNU/Linux, with Linux 6.1.0-9' --class debian $menuentry_id_option 'gnulinux-9-advanced-0' {
		linux	/boot/vmlinuz-9 root=UUID=0-0 ro  quiet
		initrd	/boot/initrd.img-9
	}
	menuentry "Debian GNU/Linux, with Linux 6.1.0-8 (recovery mode)" $menuentry_id_option 'gnulinux-8-recovery-0' {
		linux	($root)/boot/vmlinuz-8 root=UUID=0-0 ro single dyndbg="file a.c +p"
		initrd	($root)/boot/initrd.img-8
	}
}
"""
EIGHT = Entry(
    "/boot/grub/grub.cfg",
    "/boot/vmlinuz-8",
    ("/boot/initrd.img-8",),
    "root=UUID=0-0 ro single dyndbg=file a.c +p",
)
NINE = Entry(
    "/boot/grub/grub.cfg",
    "/boot/vmlinuz-9",
    ("/boot/intel.img", "/boot/initrd.img-9"),
    "root=UUID=0-0 ro quiet",
)
BLS = """title Fedora
linux /vmlinuz-6
initrd /initramfs-6.img $tuned_initrd
options root=/dev/sda1 $kernelopts
"""


def find(top: Path, files: dict[str, str]) -> Entry | None:
    for name, text in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    tree = Tree(top)
    try:
        return boot_files.find(tree)
    finally:
        tree.close()


def debian(default: str) -> dict[str, str]:
    names = ("vmlinuz-9", "vmlinuz-8", "initrd.img-9", "initrd.img-8", "intel.img")
    return {"boot/grub/grub.cfg": DEBIAN % default, **{f"boot/{name}": name for name in names}}


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        ("0", NINE),
        ("Debian GNU/Linux", NINE),
        ("gnulinux-simple-0", NINE),
        ("1>1", EIGHT),
        ("gnulinux-advanced-0>gnulinux-8-recovery-0", EIGHT),
        ("7", None),
        ("1", None),  # a menu in the menu, in which somebody has to choose
    ],
)
def test_grub_starts_its_default(tmp_path: Path, default: str, expected: Entry | None) -> None:
    found = find(tmp_path, debian(default))
    assert found == (expected and Entry(expected.source, expected.kernel, expected.initrds, expected.options))


@pytest.mark.parametrize(("saved", "expected"), [("saved_entry=1>1\n", EIGHT), ("", NINE)])
def test_grub_starts_what_was_saved(tmp_path: Path, saved: str, expected: Entry) -> None:
    files = debian("${saved_entry}") | {"boot/grub/grubenv": f"# GRUB Environment Block\n{saved}####"}
    assert find(tmp_path, files) == expected


def test_a_boot_partition_of_its_own_is_looked_at_where_it_is_mounted(tmp_path: Path) -> None:
    text = "menuentry 'x' {\n linux16 /vmlinuz root=/dev/vda2\n initrd16 /initrd\n}\n"
    found = find(tmp_path, {"boot/grub2/grub.cfg": text, "boot/vmlinuz": "k", "boot/initrd": "i"})
    assert found == Entry("/boot/grub2/grub.cfg", "/boot/vmlinuz", ("/boot/initrd",), "root=/dev/vda2")


def test_a_subvolume_of_btrfs_is_no_folder_of_the_guest(tmp_path: Path) -> None:
    text = "menuentry x {\n linux /@/boot/vmlinuz rootflags=subvol=@\n}\n"
    found = find(tmp_path, {"boot/grub/grub.cfg": text, "boot/vmlinuz": "k"})
    assert found == Entry("/boot/grub/grub.cfg", "/boot/vmlinuz", (), "rootflags=subvol=@")


def test_grub_takes_entries_of_the_specification(tmp_path: Path) -> None:
    files = {
        "boot/grub2/grub.cfg": 'set kernelopts="ro quiet"\ninsmod blscfg\nblscfg\n',
        "boot/grub2/grubenv": "saved_entry=one-6\nkernelopts=ro crashkernel=1G\n",
        "boot/loader/entries/one-6.conf": BLS,
        "boot/loader/entries/one-5.conf": BLS.replace("6", "5"),
        "boot/vmlinuz-6": "k",
        "boot/initramfs-6.img": "i",
    }
    expected = Entry(
        "/boot/loader/entries/one-6.conf", "/boot/vmlinuz-6", ("/boot/initramfs-6.img",), "root=/dev/sda1 ro quiet"
    )
    assert find(tmp_path, files) == expected
    (tmp_path / "boot/grub2/grubenv").unlink()
    assert find(tmp_path, {}) is None  # which of the two is not sure
    (tmp_path / "boot/loader/entries/one-5.conf").rename(tmp_path / "boot/loader/entries/one-0-rescue.conf")
    assert find(tmp_path, {}) == expected


def test_systemd_boot_takes_its_default(tmp_path: Path) -> None:
    entry = "linux /abc/6/linux\ninitrd /abc/6/initrd\noptions root=LABEL=a\noptions ro\n"
    files = {
        "efi/loader/loader.conf": "timeout 3\ndefault abc-*\n",
        "efi/loader/entries/abc-6.conf": entry,
        "efi/loader/entries/other-6.conf": entry.replace("abc", "other"),
        "efi/abc/6/linux": "k",
        "efi/abc/6/initrd": "i",
    }
    assert find(tmp_path, files) == Entry(
        "/efi/loader/entries/abc-6.conf", "/efi/abc/6/linux", ("/efi/abc/6/initrd",), "root=LABEL=a ro"
    )


def test_extlinux_starts_its_default(tmp_path: Path) -> None:
    text = """DEFAULT virt
LABEL lts
  LINUX vmlinuz-lts
LABEL virt
  MENU LABEL Linux virt
  LINUX vmlinuz-virt
  INITRD initramfs-virt
  APPEND root=UUID=1 modules=sd-mod,ext4 quiet
"""
    files = {"boot/extlinux.conf": text, "boot/vmlinuz-virt": "k", "boot/initramfs-virt": "i"}
    assert find(tmp_path, files) == Entry(
        "/boot/extlinux.conf", "/boot/vmlinuz-virt", ("/boot/initramfs-virt",), "root=UUID=1 modules=sd-mod,ext4 quiet"
    )


@pytest.mark.parametrize(
    "line",
    [
        "linux /boot/absent root=/dev/vda1",
        "linux $path root=/dev/vda1",
        "linux /boot/folder root=/dev/vda1",
        f"linux /boot/vmlinuz {'x' * 3000}",
        "linux /boot/vmlinuz \x1b[2J",
        "chainloader +1",
        "linux '",
    ],
)
def test_what_is_not_sure_is_left_to_the_loader(tmp_path: Path, line: str) -> None:
    (tmp_path / "boot/folder").mkdir(parents=True)
    assert find(tmp_path, {"boot/grub/grub.cfg": f"menuentry x {{\n{line}\n}}\n", "boot/vmlinuz": "k"}) is None


def test_a_guest_without_a_loader_has_none(tmp_path: Path) -> None:
    assert find(tmp_path, {"boot/vmlinuz": "k"}) is None


def test_a_link_leads_nowhere_out_of_the_guest(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    top = tmp_path / "guest"
    (top / "boot").mkdir(parents=True)
    (top / "boot/vmlinuz").symlink_to("../../secret")
    assert find(top, {"boot/grub/grub.cfg": "menuentry x {\n linux /boot/vmlinuz\n}\n"}) is None


def parcel(tmp_path: Path, entry: Entry) -> tuple[BootFiles | None, bytes]:
    device = tmp_path / "device"
    device.write_bytes(b"")
    tree = Tree(tmp_path / "guest")
    try:
        return boot_files.write(tree, entry, device), device.read_bytes()
    finally:
        tree.close()


def test_the_files_lie_on_the_parcel_where_the_answer_says(tmp_path: Path) -> None:
    (tmp_path / "guest").mkdir()
    for name, content in (("k", b"kernel"), ("one", b"12345"), ("two", b"678")):
        (tmp_path / "guest" / name).write_bytes(content)
    found, data = parcel(tmp_path, Entry("/c", "/k", ("/one", "/two"), "ro"))
    assert found == BootFiles(source="/c", options="ro", kernel=6, initrd_at=ALIGNMENT, initrd=12)
    assert data[:6] == b"kernel"
    assert data[ALIGNMENT:] == b"12345\0\0\x00678"


@pytest.mark.parametrize("name", ["k", "i"])
def test_files_that_no_kernel_has_are_left(tmp_path: Path, name: str) -> None:
    (tmp_path / "guest").mkdir()
    for each in ("k", "i"):
        (tmp_path / "guest" / each).write_bytes(b"x")
    os.truncate(tmp_path / "guest" / name, boot_files.PARCEL)  # sparse
    assert parcel(tmp_path, Entry("/c", "/k", ("/i",), "ro"))[0] is None


def test_an_empty_kernel_is_none(tmp_path: Path) -> None:
    (tmp_path / "guest").mkdir()
    (tmp_path / "guest/k").write_bytes(b"")
    assert parcel(tmp_path, Entry("/c", "/k", (), "ro"))[0] is None
