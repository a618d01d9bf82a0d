"""Known causes of failure, found in the output of libguestfs's programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmseal.sealers.libguestfs import cause, last_words
from vmseal.sealers.sealer import DiskInUse, EncryptedGuest, KernelUnreadable, NoSpace, SealError

LOG = Path("/state/logs/run.log")


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (
            "supermin: build: kernel: cannot read /boot/vmlinuz-6.1.0-generic: Permission denied\n",
            KernelUnreadable,
            "chmod 0644 /boot/vmlinuz-6.1.0-generic",
        ),
        (
            "cp: cannot open '/boot/vmlinuz-5.15.0-25-generic' for reading: Permission denied\nsupermin: cp: failed",
            KernelUnreadable,
            "chmod 0644 /boot/vmlinuz-5.15.0-25-generic",
        ),
        (
            "supermin: failed to find a suitable kernel (host_cpu=x86_64).\n",
            KernelUnreadable,
            "linux-image-cloud-amd64",
        ),
        (
            'qemu-system-x86_64: -device scsi-hd,drive=hd0: Failed to get "write" lock\nIs another process using',
            DiskInUse,
            'Failed to get "write" lock',
        ),
        ("supermin: error writing: /cache/root: No space left on device", NoSpace, "No space left on device"),
        ("virt-sysprep: error: could not read key from user", EncryptedGuest, "LUKS"),
    ],
)
def test_a_known_cause(text: str, kind: type[SealError], words: str) -> None:
    error = cause(text, LOG)
    assert type(error) is kind
    assert words in str(error)


def test_other_output_has_no_known_cause() -> None:
    assert cause("virt-sysprep: error: libguestfs error: inspect_os: /etc/fstab: augeas parse failure", LOG) is None


def test_last_words_prefer_errors() -> None:
    text = "libguestfs: trace: launch = -1 (error)\nqemu-system-x86_64: error: no such option\nbye\n"
    assert last_words(text) == "qemu-system-x86_64: error: no such option"
    assert last_words("one\ntwo\n") == "one\ntwo"
