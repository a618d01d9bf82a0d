"""Values to XML and JSON and back."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from vmseal.engine.api.faults import Fault
from vmseal.engine.api.representation import json_writer, xml_writer
from vmseal.engine.api.representation.body import read_json, read_xml
from vmseal.engine.api.representation.entity import Entity, Listing
from vmseal.engine.api.representation.resource import Resource, always
from vmseal.engine.api.representation.text import clean

CALM = settings(deadline=None)  # other programs may need the machine, too
BASE = "/ovirt-engine/api"


def _carried(text: str) -> bool:
    """Whether XML 1.0 can carry the text, by lxml's judgement."""
    try:
        etree.Element("a").text = text
    except ValueError:
        return False
    return True


@CALM
@given(st.text())
def test_any_text_is_read_back_from_xml(text: str) -> None:
    document = xml_writer.write(Entity("vm", fields={"name": text}), BASE)
    read = read_xml(document).child("name")
    assert read is not None
    assert read.own_text() == clean(text)
    assert len(clean(text)) == len(text)
    if _carried(text):
        assert clean(text) == text


@CALM
@given(st.text())
def test_any_text_is_read_back_from_json(text: str) -> None:
    document = json_writer.write(Entity("vm", fields={"name": text}), BASE)
    assert (read_json(document).text("name") or "") == clean(text)


@CALM
@given(st.text(alphabet=st.characters(max_codepoint=0x20) | st.sampled_from("\ud800\udfff\ufffe\uffff")))
def test_what_xml_cannot_carry_is_replaced(text: str) -> None:
    assert _carried(clean(text))
    assert set(clean(text)) <= {"\t", "\n", "\r", " ", "\ufffd"}


@CALM
@given(st.text(min_size=1), st.text(min_size=1))
def test_ids_and_names_of_links_are_escaped(one: str, two: str) -> None:
    document = xml_writer.write(Entity("vm", id=one, fields={"name": two}), BASE)
    root = etree.fromstring(document)
    assert root.findtext("name") == clean(two)
    assert len(root) == 1


@CALM
@given(
    st.integers(-(2**62), 2**62),
    st.booleans(),
    st.datetimes(timezones=st.just(dt.UTC)).filter(lambda moment: moment.year > 1970),
)
def test_numbers_truth_values_and_moments(number: int, truth: bool, moment: dt.datetime) -> None:
    entity = Entity("vm", fields={"memory": number, "sealed": truth, "time": moment, "absent": None})
    body = read_xml(xml_writer.write(entity, BASE))
    assert (body.integer("memory"), body.boolean("sealed")) == (number, truth)
    read = dt.datetime.fromisoformat(body.text("time") or "")
    assert abs(read - moment) < dt.timedelta(milliseconds=1)
    assert body.child("absent") is None
    data = json.loads(json_writer.write(entity, BASE))
    assert data == {"memory": number, "sealed": truth, "time": data["time"]}
    assert abs(data["time"] - moment.timestamp() * 1000) <= 1


_names = st.from_regex("[a-z_]{1,10}", fullmatch=True)
_texts = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"), min_size=1)


@CALM
@given(st.dictionaries(_names.filter(lambda name: name not in ("id", "href")), _texts))
def test_the_same_request_in_json_and_xml_is_the_same(fields: dict[str, str]) -> None:
    root = etree.Element("vm")
    for name, text in fields.items():
        etree.SubElement(root, name).text = text
    from_xml, from_json = read_xml(etree.tostring(root)), read_json(json.dumps(fields).encode())
    for name, text in fields.items():
        assert from_xml.text(name) == from_json.text(name) == text


def test_lists_in_both_forms() -> None:
    listing = Listing("vms", "vm", [Entity("vm", id="1", href="/vms/1", links={"nics": "/vms/1/nics"}), Entity("vm")])
    data = json.loads(json_writer.write(listing, BASE))
    href = f"{BASE}/vms/1"
    assert data == {"vm": [{"href": href, "id": "1", "link": [{"href": f"{href}/nics", "rel": "nics"}]}, {}]}
    root = etree.fromstring(xml_writer.write(listing, f"{BASE}/v4"))
    assert (root.tag, [child.get("href") for child in root]) == ("vms", [f"{BASE}/v4/vms/1", None])
    assert b"<vms/>" in xml_writer.write(Listing("vms", "vm"), BASE)
    body = read_json(json.dumps({"images": {"image": [{"path": "a"}, {"path": "b"}]}}).encode())
    assert [image.text("path") for image in body.children("images/image")] == ["a", "b"]


def test_an_empty_text_is_an_empty_element_with_an_end_tag() -> None:
    assert b"<description></description>" in xml_writer.write(Entity("vm", fields={"description": ""}), BASE)


def test_a_resource_describes_both_forms() -> None:
    resource = Resource[str](
        tag="vm",
        plural="vms",
        identify=lambda row: row,
        href=lambda row: f"/vms/{row}",
        fields={"os.boot.device": always("hd"), "os.type": always("other"), "comment": lambda _row: None},
        links=("nics",),
        actions=("start",),
    )
    data = json.loads(json_writer.write(resource.entity("1"), BASE))
    assert data["os"] == {"boot": {"device": "hd"}, "type": "other"}
    assert data["actions"] == {"link": [{"href": f"{BASE}/vms/1/start", "rel": "start"}]}
    assert "comment" not in data
    root = etree.fromstring(xml_writer.write(resource.listing(["1"]), BASE))
    assert root.findtext("vm/os/boot/device") == "hd"
    assert [link.get("rel") for link in root.iter("link")] == ["start", "nics"]


@pytest.mark.parametrize(
    ("xml", "path"),
    [
        ("<a><b>x</b></a>", "b"),
        ("<a><b>1.5</b></a>", "b"),
        ("<a><b>99999999999999999999</b></a>", "b"),
        ("<a><b> </b></a>", "b"),
    ],
)
def test_numbers_that_are_none(xml: str, path: str) -> None:
    with pytest.raises(Fault):
        read_xml(xml.encode()).integer(path)


def test_references_by_id_and_name() -> None:
    body = read_xml(b'<t><vm id="B0A6F2A4-3A5B-4C1D-8E2F-000000000001"/><cluster><name>c</name></cluster><e/></t>')
    vm, cluster = body.named("vm"), body.named("cluster")
    assert vm is not None
    assert vm.id == "b0a6f2a4-3a5b-4c1d-8e2f-000000000001"
    assert cluster is not None
    assert (cluster.id, cluster.name) == (None, "c")
    assert body.named("e") is None
    assert body.named("nothing") is None
    with pytest.raises(Fault):
        read_xml(b'<t><vm id="x"/></t>').named("vm")
