from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vmseal.seal.erase.crc32c import ONES, by_table, crc32c, prefix

SEEDS = st.integers(0, ONES)


def test_it_is_castagnolis() -> None:
    assert by_table(ONES, b"123456789") ^ ONES == 0xE3069283  # the check value of CRC-32C in RFC 3720's terms
    assert by_table(ONES, bytes(32)) ^ ONES == 0x8A9136AA  # RFC 3720, appendix B.4


@given(SEEDS)
def test_the_prefix_leads_to_the_seed(seed: int) -> None:
    assert by_table(ONES, prefix(seed)) == seed


@given(SEEDS, st.binary(max_size=300))
def test_the_kernel_and_the_table_agree(seed: int, data: bytes) -> None:
    assert crc32c(seed, data) == by_table(seed, data)
