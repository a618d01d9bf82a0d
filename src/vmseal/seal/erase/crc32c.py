"""CRC-32C (Castagnoli), the checksum in the metadata of ext4, XFS and btrfs: by the kernel where it offers it.

The standard library has no CRC-32C. AF_ALG (modules ``af_alg`` and ``algif_hash``) computes it in the kernel; without
it a table does, about a thousand times slower: enough for the few blocks that change.
"""

from __future__ import annotations

import socket
from functools import cache

from vmseal.seal import kernel

ONES = 0xFFFFFFFF
POLYNOMIAL = 0x82F63B78  # 0x1EDC6F41, bits reversed
BYTE_BITS = 8


def crc32c(seed: int, data: bytes | bytearray | memoryview) -> int:
    """Return the register after ``data`` when it stood at ``seed``, not inverted: what ext4 calls its checksum."""
    hashes = _kernel()
    if hashes is None:
        return by_table(seed, data)
    hashes.send(prefix(seed) + bytes(data))
    return int.from_bytes(hashes.recv(4), "little") ^ ONES


def by_table(seed: int, data: bytes | bytearray | memoryview) -> int:
    """Return the same as :func:`crc32c`, computed here."""
    table, crc = _table(), seed
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc


def prefix(seed: int) -> bytes:
    """Return the four bytes that lead from all ones, where the kernel's CRC begins, to ``seed``.

    This way one socket serves every seed: its key, the other way to set one, cannot change while it is in use.
    """
    table, index_of, crc = _table(), _index_by_top_byte(), seed
    for _ in range(4):
        index = index_of[crc >> 24]
        crc = ((crc ^ table[index]) << 8 | index) & ONES
    return (crc ^ ONES).to_bytes(4, "little")


@cache
def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(BYTE_BITS):
            crc = crc >> 1 ^ POLYNOMIAL * (crc & 1)
        table.append(crc)
    return tuple(table)


@cache
def _index_by_top_byte() -> dict[int, int]:
    return {entry >> 24: index for index, entry in enumerate(_table())}


@cache
def _kernel() -> socket.socket | None:
    kernel.load("algif_hash")
    try:
        with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as hashes:
            hashes.bind(("hash", "crc32c"))
            return hashes.accept()[0]
    except OSError:
        return None
