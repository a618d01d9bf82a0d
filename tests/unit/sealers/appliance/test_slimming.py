"""What is taken out of a kernel module, and that the rest is the same: on modules of this host's kernel."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from vmseal.sealers.appliance import kernels, modules, slimming
from vmseal.sealers.appliance.slimming import SYMBOL, slim

RELOCATION = struct.Struct("<QIIq")
PLACES_WITH_A_SECTION = range(1, 0xFF00)


@dataclass(frozen=True)
class Target:
    """Where a relocation leads: a place in a section, or a name of another module."""

    section: int
    offset: int
    name: bytes


@pytest.fixture(scope="module", params=["btrfs", "xfs", "dm_mod"])
def module(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a module as the kernel has it."""
    found = modules.find_modules(kernels.find_kernel(), [request.param])
    file = found.folder / found.order[request.param][-1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modules, "slim", bytes)
        return modules.read_module(file, tmp_path_factory.mktemp("unpacked"))


def relocations(module: bytes) -> Iterator[tuple[int, int, Target]]:
    """Yield place in the file, type and target of each."""
    data = bytearray(module)
    sections = slimming._sections(data)
    table = next(section for section in sections if section.name == b".symtab")
    symbols = list(SYMBOL.iter_unpack(data[table.offset : table.offset + table.size]))
    names = sections[table.link].offset
    for section in sections:
        if section.type != slimming.RELOCATIONS:
            continue
        for index in range(section.size // RELOCATION.size):
            at = section.offset + index * RELOCATION.size
            _, kind, number, addend = RELOCATION.unpack_from(data, at)
            name, _, _, place, value, _ = symbols[number]
            is_inside = place in PLACES_WITH_A_SECTION
            text = b"" if is_inside else slimming._text(data, names + name)
            yield at, kind, Target(place, value + addend, text)


def names_of(module: bytes) -> set[bytes]:
    return {section.name for section in slimming._sections(bytearray(module)) if section.flags & slimming.ALLOCATED}


def test_each_relocation_leads_where_it_led(module: bytes) -> None:
    assert list(relocations(slim(module))) == list(relocations(module))


def test_hardly_a_symbol_is_left(module: bytes) -> None:
    before, after = (
        next(section.size for section in slimming._sections(bytearray(each)) if section.name == b".symtab")
        for each in (module, slim(module))
    )
    assert after < before / 2


def test_the_loader_finds_neither_trace_events_nor_tables_of_stack_traces(module: bytes) -> None:
    assert names_of(module) - names_of(slim(module)) == names_of(module) & set(slimming.LEFT_OUT)
    assert names_of(slim(module)) >= {b".text", b"__ksymtab_strings"} & names_of(module)


def test_what_is_slim_stays_as_it_is(module: bytes) -> None:
    assert slim(slim(module)) == slim(module)


def test_a_module_goes_along_without_signature_and_types() -> None:
    signed = b"module" + b"PKCS#7" + struct.pack(">BBBBB3xI", 0, 0, 2, 0, 0, 6) + slimming.SIGNATURE_MARK
    assert slim(signed) == b"module"
    assert slim(b"module") == b"module"
    assert slim(b"x\0.BTF\0.BTF_ids\0") == b"x\0.xxx\0.BTF_ids\0"


@pytest.mark.parametrize("length", [0, 4, 63, 64, 1000])
def test_a_file_that_ends_too_early_is_left_alone(module: bytes, length: int) -> None:
    assert slim(module[:length]) == module[:length]


def test_a_module_of_another_machine_is_left_alone(module: bytes) -> None:
    other = bytearray(slim(module))
    struct.pack_into("<H", other, 18, 183)  # EM_AARCH64
    assert slim(bytes(other)) == bytes(other)
