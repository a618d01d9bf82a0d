"""API documents as values: whatever the API leaves out has a value of its type."""

from __future__ import annotations

import pytest

from vmseal.cli.values import (
    DiskValue,
    EventValue,
    HostValue,
    JobValue,
    StepValue,
    TemplateValue,
    VmValue,
    human_size,
    moment,
)


def test_an_empty_document_has_a_value() -> None:
    assert VmValue.of({}).name == ""
    assert TemplateValue.of({}).version_number == 1
    assert JobValue.of({}).reason == ""
    assert StepValue.of({}).progress is None
    assert EventValue.of({}).id == 0
    assert HostValue.of({}).status == ""
    assert DiskValue.of({}).provisioned_size == 0


def test_a_template() -> None:
    value = TemplateValue.of(
        {
            "id": "t",
            "name": "base",
            "status": "ok",
            "sealed": True,
            "creation_time": 1767225600123,
            "version": {"version_number": 2, "version_name": "v2", "base_template": {"id": "b"}},
        }
    )
    assert value.sealed
    assert (value.version_number, value.version_name, value.base_template_id) == (2, "v2", "b")
    assert value.created == "2026-01-01T00:00:00.123+00:00"


def test_numbers_and_booleans_may_be_words() -> None:
    assert StepValue.of({"progress": "40", "number": "1"}).progress == 40.0
    assert TemplateValue.of({"sealed": "true"}).sealed
    assert not TemplateValue.of({"sealed": "false"}).sealed


def test_times_may_be_iso_already() -> None:
    assert moment({"time": "2026-01-31T10:00:00.000Z"}, "time") == "2026-01-31T10:00:00.000Z"
    assert moment({}, "time") is None


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 30, "3.0 GiB"), (5 << 40, "5.0 TiB")]
)
def test_sizes(count: int, words: str) -> None:
    assert human_size(count) == words
