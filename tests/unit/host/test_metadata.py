from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmseal.host import metadata
from vmseal.model.errors import InvalidMetadata, MetadataChecksumError, MetadataOverflow, VerbError
from vmseal.model.volume import (
    BLANK_UUID,
    Allocation,
    Legality,
    VolumeFormat,
    VolumeMetadata,
    VolumeType,
)

# The example of VDSM's own layout, byte by byte.
EXAMPLE = b"""\
CAP=1073741824
CTIME=1700000000
DESCRIPTION={"DiskAlias":"os","DiskDescription":""}
DISKTYPE=DATA
DOMAIN=2b1c9f5e-0d5e-4c1b-9f4e-6f6f0f1d2a01
FORMAT=COW
GEN=0
IMAGE=7f3b7a52-4a0e-4f55-8f6e-1e0f3a9d4b02
LEGALITY=ILLEGAL
PUUID=00000000-0000-0000-0000-000000000000
SEQ=1
TYPE=SPARSE
VOLTYPE=LEAF
EOF
"""
VALUES = VolumeMetadata(
    domain="2b1c9f5e-0d5e-4c1b-9f4e-6f6f0f1d2a01",
    image="7f3b7a52-4a0e-4f55-8f6e-1e0f3a9d4b02",
    capacity=1073741824,
    format=VolumeFormat.COW,
    allocation=Allocation.SPARSE,
    ctime=1700000000,
    description='{"DiskAlias":"os","DiskDescription":""}',
    legality=Legality.ILLEGAL,
    sequence=1,
)
UUIDS = st.uuids().map(str)


def volumes() -> st.SearchStrategy[VolumeMetadata]:
    return st.builds(
        VolumeMetadata,
        domain=UUIDS,
        image=UUIDS,
        capacity=st.integers(1, 2**62),
        format=st.sampled_from(VolumeFormat),
        allocation=st.sampled_from(Allocation),
        ctime=st.integers(0, 2**40),
        parent=UUIDS | st.just(BLANK_UUID),
        description=st.text().map(metadata.clean_description),
        disk_type=st.sampled_from(sorted(metadata.DISK_TYPES)),
        type=st.sampled_from(VolumeType),
        legality=st.sampled_from(Legality),
        generation=st.integers(0, 999),
        sequence=st.integers(0, 2**32 - 1),
    )


def test_the_format_is_vdsms() -> None:
    assert metadata.format_volume(VALUES) == EXAMPLE
    assert metadata.parse_volume(EXAMPLE) == VALUES


@given(volumes())
def test_what_is_written_is_read_back(values: VolumeMetadata) -> None:
    try:
        data = metadata.format_volume(values)
    except MetadataOverflow:
        assert len(values.description.encode()) > 210 - 50
        return
    assert len(data) <= 512
    assert metadata.parse_volume(data) == values


@given(st.text())
def test_a_description_never_becomes_a_line_of_its_own(text: str) -> None:
    try:
        data = metadata.format_volume(replace(VALUES, description=metadata.clean_description(text)))
    except MetadataOverflow:
        return
    assert metadata.parse_volume(data) == replace(VALUES, description=metadata.clean_description(text))
    assert len(data.splitlines()) == len(EXAMPLE.splitlines())


def test_an_unclean_description_is_refused_by_the_writer() -> None:
    with pytest.raises(InvalidMetadata, match="DESCRIPTION"):
        metadata.format_volume(replace(VALUES, description="a\nLEGALITY=LEGAL"))
    assert metadata.clean_description("a\r\nLEGALITY=LEGAL\u2028x") == "a  LEGALITY=LEGAL x"


def test_a_description_is_cut_to_210_characters() -> None:
    assert metadata.clean_description("x" * 300) == "x" * 210


def test_more_than_512_bytes_are_refused() -> None:
    with pytest.raises(MetadataOverflow, match="512"):
        metadata.format_volume(replace(VALUES, description="\N{SNOWMAN}" * 210))


@pytest.mark.parametrize("key", ["CAP", "CTIME", "DESCRIPTION", "DISKTYPE", "DOMAIN", "FORMAT", "IMAGE", "LEGALITY"])
def test_a_missing_key_is_named(key: str) -> None:
    lines = [line for line in EXAMPLE.splitlines() if not line.startswith(key.encode() + b"=")]
    with pytest.raises(InvalidMetadata, match=f"Key {key} is missing"):
        metadata.parse_volume(b"\n".join(lines))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("CAP", b"-1"),
        ("CAP", b"0"),
        ("CAP", b"1e9"),
        ("CAP", "\u0661".encode()),
        ("GEN", b"1000"),
        ("SEQ", b"4294967296"),
        ("FORMAT", b"QCOW2"),
        ("LEGALITY", b"legal"),
        ("PUUID", b"../../etc/passwd"),
        ("IMAGE", b"7F3B7A52-4A0E-4F55-8F6E-1E0F3A9D4B02"),
        ("DISKTYPE", b"?"),
        ("VOLTYPE", b""),
    ],
)
def test_a_wrong_value_is_named(key: str, value: bytes) -> None:
    lines = [
        key.encode() + b"=" + value if line.startswith(key.encode() + b"=") else line for line in EXAMPLE.split(b"\n")
    ]
    with pytest.raises(InvalidMetadata, match=f"Key {key} has the wrong value"):
        metadata.parse_volume(b"\n".join(lines))


@pytest.mark.parametrize("key", [b"GEN", b"SEQ"])
def test_generation_and_sequence_may_be_absent(key: bytes) -> None:
    lines = [line for line in EXAMPLE.splitlines() if not line.startswith(key + b"=")]
    found = metadata.parse_volume(b"\n".join(lines))
    assert (found.generation, found.sequence) in ((0, 1), (0, 0))


def test_old_domains_count_in_sectors() -> None:
    data = EXAMPLE.replace(b"CAP=1073741824", b"SIZE=4\nMTIME=0")
    assert metadata.parse_volume(data).capacity == 2048


def test_readers_are_lenient_where_vdsm_is() -> None:
    data = b"no equals sign\n" + EXAMPLE.replace(b"GEN=0", b" GEN = 7 ") + b"GEN=9\n\0\0\0"
    assert metadata.parse_volume(data).generation == 7


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 512, b"\xff\xfe", b"NONE=" + b"#" * 20 + b"\n" + EXAMPLE, EXAMPLE[:-20] * 2]
)
def test_other_files_are_no_metadata(data: bytes) -> None:
    with pytest.raises(InvalidMetadata):
        metadata.parse_volume(data)


@given(st.binary(max_size=600))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(InvalidMetadata):
        assert isinstance(metadata.parse_volume(data), VolumeMetadata)


def test_a_stored_file_is_loaded_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "v.meta"
    (tmp_path / "v.meta.new").write_text("left by a crash")
    metadata.store(path, VALUES)
    assert metadata.load(path) == VALUES
    assert [entry.name for entry in tmp_path.iterdir()] == ["v.meta"]


def test_a_failed_write_keeps_the_old_and_says_where(tmp_path: Path) -> None:
    path = tmp_path / "v.meta"
    metadata.store(path, VALUES)
    (tmp_path / "v.meta.new").mkdir()
    with pytest.raises(VerbError, match=r"v\.meta cannot be written") as caught:
        metadata.store(path, replace(VALUES, generation=5))
    assert caught.value.code == 208
    assert metadata.load(path) == VALUES


def test_domain_metadata_has_vdsms_checksum() -> None:
    data = metadata.format_domain(
        {"VERSION": "5", "DESCRIPTION": "d\N{LATIN SMALL LETTER E WITH ACUTE}", "ROLE": "Master"}
    )
    # printf %s 'DESCRIPTION=d&#233;ROLE=MasterVERSION=5' | sha1sum
    assert b"_SHA_CKSUM=92a8e062f6dd2b2ebfd3e9071bdaad1385d10c72\n" in data
    assert metadata.parse_domain(data)["ROLE"] == "Master"
    with pytest.raises(MetadataChecksumError) as caught:
        metadata.parse_domain(data.replace(b"Master", b"Regular"))
    assert caught.value.code == 752


def test_domain_metadata_without_checksum_is_trusted() -> None:
    assert metadata.parse_domain(b"VERSION=5\n") == {"VERSION": "5"}


def test_domain_metadata_takes_no_second_line() -> None:
    with pytest.raises(InvalidMetadata):
        metadata.format_domain({"DESCRIPTION": "a\nROLE=Master"})
