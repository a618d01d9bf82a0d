"""Kernel modules without what takes an emulated CPU seconds when they are loaded, and serves nothing in the appliance.

Only the module's file changes, in ways that the kernel's loader (kernel/module/ of Linux) provides for; what a module
does is the same. Layouts are those of elf(5).
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass

SIGNATURE_MARK = b"~Module signature appended~\n"
SIGNATURE = struct.Struct(">3xBB3xI")  # lengths of the signer's name, of the key's and of the signature
IDENT = b"\x7fELF\x02\x01"  # 64 bits, the lowest byte first
X86_64 = 62
HEADER = struct.Struct("<16xHHIQQQIHHHHHH")
SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
FLAGS, SIZE = 8, 32  # of a section's header: where these begin
RELOCATIONS, ALLOCATED, SECTION_TYPE = 4, 2, 3  # SHT_RELA, SHF_ALLOC, STT_SECTION
# The loader takes a section that is not to be allocated as not there. Without these a module has no trace events, whose
# texts are searched for enumerations at each load, and no table for stack traces, which is sorted.
LEFT_OUT = (b"_ftrace_events", b"_ftrace_eval_map", b".orc_unwind", b".orc_unwind_ip")
# Types for BPF programs: the first module that has some makes the kernel go through all of its own. These the loader
# finds by name alone.
BTF, NO_BTF = b"\0.BTF\0", b"\0.xxx\0"


@dataclass(frozen=True)
class _Section:
    name: bytes
    type: int
    flags: int
    offset: int
    size: int
    link: int
    header: int  # where its header is in the file


def slim(module: bytes) -> bytes:
    """Return the module without signature, trace events, tables for stack traces, types, and names of what is in it.

    The kernel looks for the name of each function among all symbols of the module, to see whether it can be traced: a
    third of all that it executes until the appliance is ready. A module of another machine loses signature and types.
    """
    plain = _without_signature(module).replace(BTF, NO_BTF)
    data = bytearray(plain)
    try:
        _slim(data)
    except (struct.error, IndexError, ValueError):  # no ELF file, or one that ends too early
        return plain
    return bytes(data)


def _slim(data: bytearray) -> None:
    sections = _sections(data)
    for section in sections:
        if section.name in LEFT_OUT:
            struct.pack_into("<Q", data, section.header + FLAGS, section.flags & ~ALLOCATED)
        if section.name == b".symtab":
            _leave_needed_symbols(data, section, [each for each in sections if each.type == RELOCATIONS])


def _without_signature(module: bytes) -> bytes:
    """Return the module without the signature at its end (linux/module_signature.h).

    It says nothing here: whoever could change the archive could do anything.
    """
    if not module.endswith(SIGNATURE_MARK):
        return module
    end = len(module) - len(SIGNATURE_MARK) - SIGNATURE.size
    signer, key, size = SIGNATURE.unpack_from(module, end)
    return module[: end - signer - key - size]


def _sections(data: bytearray) -> list[_Section]:
    """Return the sections; none of a file for another machine."""
    _, machine, _, _, _, at, _, _, _, _, length, count, names = HEADER.unpack_from(data)
    if not data.startswith(IDENT) or machine != X86_64:
        return []
    headers = [at + index * length for index in range(count)]
    fields = [SECTION.unpack_from(data, header) for header in headers]
    text = fields[names][4]
    return [
        _Section(_text(data, text + name), kind, flags, offset, size, link, header)
        for header, (name, kind, flags, _, offset, size, link, _, _, _) in zip(headers, fields, strict=True)
    ]


def _text(data: bytearray, at: int) -> bytes:
    return bytes(data[at : data.index(b"\0", at)])


def _leave_needed_symbols(data: bytearray, table: _Section, relocations: list[_Section]) -> None:
    """Have relocations refer to sections in place of what is defined in these; leave the symbols that still serve."""
    symbols = list(SYMBOL.iter_unpack(data[table.offset : table.offset + table.size]))
    of_section = {place: index for index, (_, info, _, place, _, _) in enumerate(symbols) if info & 0xF == SECTION_TYPE}
    bases = [
        (of_section.get(place, index), value if place in of_section else 0)
        for index, (_, _, _, place, value, _) in enumerate(symbols)
    ]
    tables = {each.offset: array("Q", data[each.offset : each.offset + each.size]) for each in relocations}
    needed = sorted({0, *(bases[place >> 32][0] for words in tables.values() for place in words[1::3])})
    moved = {old: new for new, old in enumerate(needed)}
    for offset, words in tables.items():
        for at in range(1, len(words), 3):
            base, value = bases[words[at] >> 32]
            words[at] = moved[base] << 32 | words[at] & 0xFFFFFFFF
            words[at + 1] = words[at + 1] + value & (1 << 64) - 1
        data[offset : offset + len(words) * words.itemsize] = words.tobytes()
    kept = b"".join(SYMBOL.pack(*symbols[old]) for old in needed)
    data[table.offset : table.offset + len(kept)] = kept
    struct.pack_into("<Q", data, table.header + SIZE, len(kept))
