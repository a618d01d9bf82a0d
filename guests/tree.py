"""The file trees that guests start from, as tar files: Debian from its packages.

One tree with the packages of all recipes serves all guests of a release, so that the packages are installed once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from guests.cache import key_of
from guests.programs import run, scratch
from guests.recipes import Suite
from vmseal.model.errors import VmsealError

TAR = "tree.tar"
BOOT_LOADER = ("./boot/grub/i386-pc/boot.img", "./boot/grub/i386-pc/core.img")  # in the tree

PACKAGES = (
    "usr-is-merged",  # instead of usrmerge, which needs all of Perl
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "zstd",
    "grub-pc",
    "systemd-sysv",
    "dbus",
    "libpam-systemd",
    "udev",
    "kmod",
    "procps",
    "iproute2",
    "netbase",
    "openssh-server",
    "isc-dhcp-client",
    "qemu-guest-agent",  # how guests are asked who they are
    "cron",
    "logrotate",
    "e2fsprogs",
    "xfsprogs",
    "lvm2",
)

# Before any package is installed. Without the pin, apt's own choice would be usrmerge.
SETUP = """
mkdir -p "$1/etc/apt/preferences.d"
printf 'Package: usrmerge\\nPin: release *\\nPin-Priority: -1\\n' > "$1/etc/apt/preferences.d/no-usrmerge"
"""

# Between the essential packages and the others. The excludes are not given to mmdebstrap itself, because it would then
# filter each archive in Perl, which takes longer than installing what is filtered. The initial RAM disk is made once,
# not again for each package that triggers it, and holds only the drivers of the disks that QEMU offers: the smaller it
# is, the sooner an emulated guest has started.
ESSENTIAL = """
mkdir -p "$1/etc/dpkg/dpkg.cfg.d" "$1/etc/initramfs-tools/conf.d"
printf 'path-exclude=/usr/share/%s/*\\n' doc man info locale lintian > "$1/etc/dpkg/dpkg.cfg.d/build"
printf 'force-unsafe-io\\nforce-confold\\n' >> "$1/etc/dpkg/dpkg.cfg.d/build"
printf 'MODULES=list\\n' > "$1/etc/initramfs-tools/conf.d/modules"
printf '%s\\n' virtio_pci virtio_blk virtio_scsi sd_mod ata_piix ahci ext4 xfs > "$1/etc/initramfs-tools/modules"
printf 'update_initramfs=no\\n' > "$1/etc/initramfs-tools/update-initramfs.conf"
"""

# At the end. The machine id is empty, not absent: absent would mean "first boot", at which systemd applies presets.
# GRUB is put together here as grub-install would, which needs a disk, and a minute for its menu in an emulated VM.
# The addresses that packages came from belong to the machine that builds, not to the guest. What is masked only makes
# an emulated guest slow.
CUSTOMIZE = """
rm -f "$1/etc/dpkg/dpkg.cfg.d/build" "$1/etc/apt/preferences.d/no-usrmerge" "$1"/etc/ssh/ssh_host_*
rm -rf "$1"/etc/apt/sources.list* "$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/var/lib/apt/lists/*
printf 'update_initramfs=yes\\n' > "$1/etc/initramfs-tools/update-initramfs.conf"
printf '[Match]\\nName=e*\\n[Network]\\nDHCP=ipv4\\nLinkLocalAddressing=no\\n[DHCPv4]\\nClientIdentifier=duid\\n' \
    > "$1/etc/systemd/network/80-dhcp.network"
chroot "$1" systemctl enable systemd-networkd.service
chroot "$1" systemctl disable systemd-networkd-wait-online.service
chroot "$1" systemctl mask apt-daily.timer apt-daily-upgrade.timer fstrim.timer dpkg-db-backup.timer \
    e2scrub_all.timer e2scrub_reap.service getty@tty1.service
: > "$1/etc/machine-id"
rm -f "$1/etc/resolv.conf"
sed -i 's/^GRUB_CMDLINE_LINUX=.*/GRUB_CMDLINE_LINUX="console=ttyS0 mitigations=off"/; \
s/^GRUB_TIMEOUT=.*/GRUB_TIMEOUT=0/' \
    "$1/etc/default/grub"
mkdir -p "$1/boot/grub/i386-pc"
cp "$1"/usr/lib/grub/i386-pc/*.mod "$1"/usr/lib/grub/i386-pc/*.lst "$1/usr/lib/grub/i386-pc/boot.img" \
    "$1/boot/grub/i386-pc/"
chroot "$1" grub-mkimage -O i386-pc -o /boot/grub/i386-pc/core.img -p '(hd0,msdos1)/boot/grub' biosdisk part_msdos \
    ext2 xfs
"""


class NoPackageSourceError(VmsealError):
    """The machine's apt configuration names no source for the packages."""


def key(suite: Suite = Suite.BOOKWORM) -> str:
    """Return the tree's key in the cache: what it is made with, less where it comes from and goes to."""
    return key_of(str(suite), packages(suite), SETUP, ESSENTIAL, CUSTOMIZE)


async def make(folder: Path, suite: Suite = Suite.BOOKWORM) -> None:
    """Make the tree of a release as ``folder``/tree.tar."""
    with scratch(folder) as environment:
        await run(_mmdebstrap(folder / TAR, suite), log=folder / "build.log", env=environment)


def packages(suite: Suite) -> tuple[str, ...]:
    """Return the packages of a release's guests."""
    missing = {"usr-is-merged"} if suite is Suite.BULLSEYE else set()  # there mmdebstrap alone merges /usr
    return tuple(package for package in PACKAGES if package not in missing)


def package_sources(apt: Path = Path("/etc/apt"), suite: Suite = Suite.BOOKWORM) -> list[str]:
    """Return the machine's own sources of Debian packages as one-line entries of the guests' suite.

    Where the machine has no source of another release, that release comes from the place of Debian 12: Debian's mirrors
    keep the supported releases side by side, and its keyring has the keys of all of them.

    Raises:
        NoPackageSourceError: there is none for Debian's main archive.

    """
    entries = [*_one_line_sources(apt), *_deb822_sources(apt)]
    wanted = _of_suite(entries, suite) or [
        re.sub(rf"(?<=\s){Suite.BOOKWORM}(?=[-/\s])", suite, entry) for entry in _of_suite(entries, Suite.BOOKWORM)
    ]
    if not wanted:
        raise NoPackageSourceError(
            f"no source of Debian {suite} in {apt}/sources.list or {apt}/sources.list.d; the demo and test guests are "
            f"installed from it: add one, such as 'deb MIRROR {suite} main'"
        )
    return _complete(wanted, suite)


def _of_suite(entries: list[tuple[str, str]], suite: Suite) -> list[str]:
    return [entry for name, entry in entries if name.removesuffix("/").split("-")[0] == suite]


def _complete(entries: list[str], suite: Suite) -> list[str]:
    """Return the entries less those of which not every package is there any more."""
    # The security archive of Debian 11 has ended, and mirrors lack the kernel that its index names.
    return [entry for entry in entries if suite is not Suite.BULLSEYE or f" {suite}-security" not in entry]


def _mmdebstrap(tar: Path, suite: Suite) -> list[str]:
    hooks = [("setup", SETUP), ("essential", ESSENTIAL), ("customize", CUSTOMIZE)]
    options = [f"--{name}-hook=set -eu; {script}" for name, script in hooks]
    options.insert(1, _merged_usr(suite))
    # As root, mmdebstrap mounts /proc and others into the tree. In a name space of its own they go when it is killed.
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else []
    return [
        *namespace, "mmdebstrap", "--variant=minbase", "--format=tar", "--skip=output/mknod",
        "--dpkgopt=force-unsafe-io", f"--include={','.join(packages(suite))}", *options, suite, str(tar),
        *package_sources(suite=suite),
    ]  # fmt: skip


def _merged_usr(suite: Suite) -> str:
    """Return the option with which mmdebstrap makes /bin and the like links before the first package is unpacked."""
    hooks = "/usr/share/mmdebstrap/hooks/merged-usr"
    # What comes after wants the package usr-is-merged, which Debian 11 does not have.
    return f"--setup-hook={hooks}/setup00.sh" if suite is Suite.BULLSEYE else f"--hook-dir={hooks}"


def _one_line_sources(apt: Path) -> Iterator[tuple[str, str]]:
    for file in [apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))]:
        if not file.exists():
            continue
        for line in file.read_text().splitlines():
            found = re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+(.*\bmain\b.*)", line)
            if found:
                yield found[2], line


def _deb822_sources(apt: Path) -> Iterator[tuple[str, str]]:
    for file in sorted(apt.glob("sources.list.d/*.sources")):
        lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
        for stanza in "\n".join(lines).split("\n\n"):
            fields = {
                name.lower(): value.split() for name, value in re.findall(r"^([\w-]+):(.*)$", stanza, re.MULTILINE)
            }
            if "deb" not in fields.get("types", []) or "main" not in fields.get("components", []):
                continue
            if fields.get("enabled") == ["no"]:
                continue
            key = f"[signed-by={fields['signed-by'][0]}] " if fields.get("signed-by") else ""
            for uri in fields.get("uris", []):
                for suite in fields.get("suites", []):
                    yield suite, f"deb {key}{uri} {suite} {' '.join(fields['components'])}"
