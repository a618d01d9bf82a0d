"""Finding the kernel that a guest's boot loader starts by default, so that a clone can be started without the loader.

Read are GRUB's configuration, entries of the Boot Loader Specification, and extlinux's. Where it is not sure which
kernel the loader would take, there is none: then the loader itself has to be asked.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vmseal.seal.tree import Tree

LARGEST_TEXT = 1 << 20  # bytes of a configuration
LARGEST_KERNEL = 64 << 20
LARGEST_INITRD = 512 << 20  # of all together
PARCEL = LARGEST_KERNEL + LARGEST_INITRD  # bytes of the disk that takes them out
ALIGNMENT = 1 << 20
LONGEST_OPTIONS = 2047  # characters; COMMAND_LINE_SIZE of the kernel
GRUB = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/boot/efi/EFI/*/grub.cfg")
GRUBENV = ("/boot/grub/grubenv", "/boot/grub2/grubenv", "/boot/efi/EFI/*/grubenv")
EXTLINUX = "/{boot/,}{extlinux/,syslinux/,}{extlinux,syslinux}.conf"
ENTRIES = "/{boot,efi,boot/efi}/loader/entries/*.conf"
LOADER = "/{boot,efi,boot/efi}/loader/loader.conf"
PARTITIONS = ("", "/boot", "/boot/efi", "/efi")  # where what the loader calls / may be mounted
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
ASSIGNMENT = re.compile(r"\s*set\s+(\w+)=(.*)")


@dataclass(frozen=True, kw_only=True)
class BootFiles:
    """Kernel and initial RAM disk, where they lie on the parcel (bytes), and the command line; found in ``source``."""

    source: str
    options: str
    kernel: int  # bytes, from the beginning
    initrd_at: int
    initrd: int  # bytes; 0 without one


@dataclass(frozen=True)
class Entry:
    """What a boot loader would start: paths in the guest, and the kernel's command line."""

    source: str
    kernel: str
    initrds: tuple[str, ...]
    options: str


@dataclass
class _Menu:
    """An entry of GRUB's menu, or a menu in it."""

    names: tuple[str, ...] = ()
    lines: list[list[str]] = field(default_factory=list)
    inner: list[_Menu] = field(default_factory=list)


def find(tree: Tree) -> Entry | None:
    """Return what the guest's boot loader starts by default; None where that is not sure."""
    for read in (_grub, _extlinux, _systemd_boot):
        if found := read(tree):
            source, kernel, initrds, options = found
            paths = [_located(tree, path) for path in (kernel, *initrds)]
            if None in paths or len(options) > LONGEST_OPTIONS or not options.isprintable():
                return None
            first, *others = (path for path in paths if path)
            return Entry(source, first, tuple(others), options)
    return None


def write(tree: Tree, entry: Entry, device: Path) -> BootFiles | None:
    """Write the entry's files onto the device; None when they are larger than any should be."""
    target = os.open(device, os.O_WRONLY | os.O_CLOEXEC)
    try:
        kernel = tree.copy(entry.kernel, target, at=0, limit=LARGEST_KERNEL)
        if not kernel:
            return None
        start = end = -(-kernel // ALIGNMENT) * ALIGNMENT
        for path in entry.initrds:
            size = tree.copy(path, target, at=end, limit=LARGEST_INITRD - (end - start))
            if size is None:
                return None
            end += -(-size // 4) * 4  # an archive in a row of them begins at a multiple of four
        return BootFiles(source=entry.source, options=entry.options, kernel=kernel, initrd_at=start, initrd=end - start)
    finally:
        os.close(target)


# -------------------------------------------------------------------------------------------------------------- loaders

_Found = tuple[str, str, Sequence[str], str]


def _grub(tree: Tree) -> _Found | None:
    texts = [(path, _text(tree, path)) for path in tree.glob(*GRUB)]
    # The one on an EFI system partition often only names the other one.
    source, text = next(((path, text) for path, text in texts if "linux" in text or "blscfg" in text), ("", ""))
    variables = _grubenv(tree) | dict(_assignments(text))
    if re.search(r"^\s*blscfg\s*$", text, re.MULTILINE):
        return _specified(tree, variables.get("saved_entry", ""), variables)
    menu = _menu(text)
    for wanted in (_default(text, variables) or "0").split(">"):
        chosen = [each for number, each in enumerate(menu.inner) if wanted in (str(number), *each.names)]
        if not chosen:
            return None
        menu = chosen[0]
    kernel, initrds, options = "", [], ""
    for command, *words in menu.lines:
        if command.startswith("linux") and words:
            kernel, options = words[0], _joined(_filled(word, variables) for word in words[1:])
        elif command.startswith("initrd"):
            initrds += words
    return (source, kernel, initrds, options) if kernel else None


def _grubenv(tree: Tree) -> dict[str, str]:
    lines = (line for path in tree.glob(*GRUBENV) for line in _text(tree, path).splitlines())
    return {name: value for name, equals, value in (line.partition("=") for line in lines) if equals}


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        if (match := ASSIGNMENT.fullmatch(line)) and "$" not in match[2]:
            yield match[1], match[2].strip().strip("\"'")


def _default(text: str, variables: Mapping[str, str]) -> str:
    """Return which entry is the default: of several lines the last one that a menu without a choice once made takes."""
    values = [match[2].strip().strip("\"'") for line in text.splitlines() if (match := ASSIGNMENT.fullmatch(line))
              and match[1] == "default"]  # fmt: skip
    values = [_filled(value, variables) for value in values if "next_entry" not in value]
    return values[-1] if values else "0"


def _menu(text: str) -> _Menu:
    stack = [_Menu()]
    for line in text.splitlines():
        words = _words(line)
        if words and words[0] in ("menuentry", "submenu") and words[-1] == "{":
            names = [words[1], *(words[place + 1] for place, word in enumerate(words[:-1]) if word in OPTIONS_WITH_ID)]
            stack[-1].inner.append(_Menu(tuple(names)))
            stack.append(stack[-1].inner[-1])
        elif words and words[-1] == "{":
            stack.append(_Menu())  # a function
        elif words == ["}"]:
            stack = stack[:-1] or [_Menu()]
        elif words:
            stack[-1].lines.append(words)
    return stack[0]


OPTIONS_WITH_ID = ("--id", "$menuentry_id_option")


def _extlinux(tree: Tree) -> _Found | None:
    for source in tree.glob(EXTLINUX):
        default, labels, label = "", dict[str, dict[str, str]](), ""
        for line in _text(tree, source).splitlines():
            key, _, value = line.strip().partition(" ")
            if key.lower() in ("default", "ontimeout"):
                default = default or value.strip()
            elif key.lower() == "label":
                label = value.strip()
                labels[label] = {}
            elif label:
                labels[label].setdefault(key.lower(), value.strip())
        chosen = labels.get(default) or (next(iter(labels.values())) if len(labels) == 1 else {})
        if kernel := chosen.get("linux") or chosen.get("kernel"):
            options = chosen.get("append", "").split()
            given = [word.removeprefix("initrd=") for word in options if word.startswith("initrd=")]
            initrds = chosen["initrd"] if "initrd" in chosen else ",".join(given)
            folder = os.path.dirname(source)  # noqa: PTH120  a path of the guest
            paths = [os.path.normpath(os.path.join(folder, each)) for each in (kernel, *initrds.split(",")) if each]  # noqa: PTH118  as above
            rest = " ".join(word for word in options if not word.startswith("initrd="))
            return source, paths[0], paths[1:], rest
    return None


def _systemd_boot(tree: Tree) -> _Found | None:
    text = "".join(_text(tree, path) for path in tree.glob(LOADER))
    default = re.search(r"^default\s+(\S+)", text, re.MULTILINE)
    return _specified(tree, default[1] if default else "", {})


def _specified(tree: Tree, wanted: str, variables: Mapping[str, str]) -> _Found | None:
    """Return the entry of the Boot Loader Specification that is wanted by name or pattern, or the only one."""
    entries = {os.path.basename(path).removesuffix(".conf"): path for path in tree.glob(ENTRIES)}  # noqa: PTH119  a path of the guest
    names = [name for name in entries if wanted and fnmatch.fnmatchcase(name, wanted.removesuffix(".conf"))]
    names = names or [name for name in entries if "rescue" not in name]
    if len(names) != 1:
        return None
    fields = [line.strip().split(None, 1) for line in _text(tree, entries[names[0]]).splitlines()]
    values = [(key, value) for key, value in (each for each in fields if len(each) == 2)]
    kernel = next((value for key, value in values if key == "linux"), "")
    initrds = [word for key, value in values if key == "initrd" for word in value.split() if not word.startswith("$")]
    options = " ".join(_filled(value, variables) for key, value in values if key == "options")
    return (entries[names[0]], kernel, initrds, options) if kernel else None


# ---------------------------------------------------------------------------------------------------------------- words


def _text(tree: Tree, path: str) -> str:
    return os.fsdecode(tree.read(path, LARGEST_TEXT) or b"")


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # an open quote
        return []


def _filled(text: str, variables: Mapping[str, str]) -> str:
    """Return a text with GRUB's variables filled in; as there, one that is not set is empty."""
    return VARIABLE.sub(lambda match: variables.get(match[1] or match[2], ""), text)


def _joined(words: Iterator[str]) -> str:
    return " ".join(f'"{word}"' if " " in word and "=" not in word else word for word in words if word)


def _located(tree: Tree, path: str) -> str | None:
    """Return where the guest has mounted what the loader calls by ``path``, seen from its partition."""
    path = re.sub(r"^\([^)]*\)", "", path)
    below = path[path.find("/boot/") :] if "/boot/" in path[1:] else path  # a subvolume of btrfs comes first there
    for candidate in dict.fromkeys(f"{top}{each}" for each in (path, below) for top in PARTITIONS):
        if candidate.startswith("/") and "$" not in candidate and tree.is_file(candidate):
            return candidate
    return None
