"""What the API answers, byte for byte where clients depend on it."""

from __future__ import annotations

import datetime as dt
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from lxml import etree
from tests.fakes.api import API, PASSWORD, USER, Api, api_in
from tests.fakes.commands import new_id

from vmseal.engine.api.settings import ApiSettings
from vmseal.engine.requests import AddVmRequest, AddVmTemplateRequest, ImportedImage, ImportVmRequest, Named, SealChoice
from vmseal.engine.tables import BLANK_TEMPLATE, Attestation, Disk, Event, Job, Session, Template, now

TEMPLATE = "<template><name>t1</name><vm><name>source</name></vm></template>"
XML = {"Content-Type": "application/xml"}
JSON = {"Accept": "application/json"}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with api_in(tmp_path) as api:
        yield api


def _add_template(api: Api, path: str = "/templates") -> etree._Element:
    answer = api.http.post(API + path, content=TEMPLATE, headers=XML)
    assert answer.status_code == 202, answer.text
    return etree.fromstring(answer.content)


def _add_everything(api: Api) -> None:
    """Leave one of each kind: finished and running jobs, a template with a report, events about what is gone."""
    _add_template(api)
    with api.database.session() as session:
        job = session.scalars(sa.select(Job)).one()
    api.commands.finish(job.id)
    with api.database.session() as session:
        session.scalars(sa.select(Template)).one().seal_report = {"sealer": "virt-sysprep"}
        session.add(Event(code=51, severity="normal", description="gone", template_id=new_id(), vm_id=api.ids.vm))
        session.add(Job(id=new_id(), command="Sweep", description="d", owner="system", correlation_id="x"))
    body = {"name": "v2", "cluster": {"name": "Default"}, "template": {"name": "t1"}}
    assert api.http.post(f"{API}/vms", json=body).status_code == 202


def _hrefs_of_xml(content: bytes) -> set[str]:
    return {str(element.get("href")) for element in etree.fromstring(content).iter() if element.get("href")}


def _hrefs_of_json(value: object) -> set[str]:
    if isinstance(value, dict):
        own = {value["href"]} if isinstance(value.get("href"), str) else set()
        return own.union(*(_hrefs_of_json(child) for child in value.values()))
    return set[str]().union(*(_hrefs_of_json(child) for child in value)) if isinstance(value, list) else set()


@pytest.mark.parametrize("root", [API, f"{API}/v4"])
@pytest.mark.parametrize("media", ["application/xml", "application/json"])
def test_every_address_in_every_answer_can_be_read(api: Api, media: str, root: str) -> None:
    _add_everything(api)
    seen: set[str] = set()
    todo = {root}
    while todo:
        href = todo.pop()
        seen.add(href)
        answer = api.http.get(href, headers={"Accept": media})
        assert answer.status_code == 200, (href, answer.text)
        assert answer.headers["content-type"].startswith(media), href
        found = _hrefs_of_xml(answer.content) if "xml" in media else _hrefs_of_json(answer.json())
        assert all(href.startswith(f"{root}/") for href in found), found
        todo |= found - seen
    for needed in ("templates", "vms", "disks", "jobs", "events", "steps", "diskattachments", "diskprofiles"):
        assert any(f"/{needed}/" in href for href in seen), needed


def test_the_template_has_what_clients_read(api: Api) -> None:
    template = _add_template(api)
    for path in (
        "name", "description", "comment", "bios/boot_menu/enabled", "bios/type", "cpu/architecture",
        "cpu/topology/cores", "creation_time", "display/type", "io/threads", "memory", "memory_policy/guaranteed",
        "os/type", "os/boot/devices/device", "sso/methods", "time_zone/name", "usb/enabled", "stateless", "type",
        "status", "version/version_name", "version/version_number", "version/base_template", "cluster", "cpu_profile",
        "sealed", "job", "creation_status",
    ):  # fmt: skip
        assert template.find(path) is not None, path
    assert template.get("href") == f"{API}/templates/{template.get('id')}"
    assert not any(
        (element.text or "").strip() != (element.text or "") for element in template.iter() if not len(element)
    )


def test_json_has_numbers_truth_values_and_milliseconds(api: Api) -> None:
    _add_template(api)
    found = api.http.get(f"{API}/templates?search=name%3Dt1", headers=JSON).json()["template"]
    assert len(found) == 1
    assert found[0]["memory"] == 1 << 30
    assert found[0]["sealed"] is False
    assert abs(found[0]["creation_time"] / 1000 - now().timestamp()) < 60
    assert api.http.get(f"{API}/networks", headers=JSON).json() == {"network": []}


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [
        ("?seal=true", True), ("?seal=T", True), ("?seal=YES", True), ("?seal=y", True), ("?seal=1", True),
        ("?seal", True), ("?seal=", True), (";seal", True), (";seal=true", True), (";seal=no;x=y", False),
        ("?seal=false", False), ("?seal=f", False), ("?seal=NO", False), ("?seal=0", False), ("?seal=garbage", False),
        ("?sealed=true", False), ("", False), ("/?seal", True), ("?seal=no&seal=yes", False),
    ],
)  # fmt: skip
def test_how_seal_is_written(api: Api, suffix: str, expected: bool) -> None:
    _add_template(api, f"/templates{suffix}")
    request = api.commands.requests[0]
    assert isinstance(request, AddVmTemplateRequest)
    assert request.seal is expected


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [
        ("?seal", SealChoice()),
        ("?seal&seal_profile=thorough&seal_sealer=auto&seal_erase=false", SealChoice("auto", "thorough", erase=False)),
        ("?seal&seal_erase", SealChoice(erase=True)),
        ("?seal&seal_profile=&seal_erase=perhaps", SealChoice()),
    ],
)
def test_how_it_is_said_how_to_seal(api: Api, suffix: str, expected: SealChoice) -> None:
    _add_template(api, f"/templates{suffix}")
    request = api.commands.requests[0]
    assert isinstance(request, AddVmTemplateRequest)
    assert request.sealing == expected


def test_requests_in_json(api: Api) -> None:
    body = {
        "name": "v",
        "cluster": {"id": api.ids.cluster.upper()},
        "template": {"name": "t"},
        "memory": 2 << 30,
        "cpu": {"topology": {"cores": 2, "sockets": 3}},
        "os": {"type": "debian_12"},
    }
    answer = api.http.post(f"{API}/vms?clone=true", json=body)
    assert answer.status_code == 202
    assert answer.json()["status"] == "image_locked"  # a JSON request without preference gets JSON
    assert api.commands.requests == [
        AddVmRequest(
            name="v",
            cluster=Named(id=api.ids.cluster),
            template=Named(name="t"),
            memory=2 << 30,
            cores=6,
            os_type="debian_12",
            clone=True,
        )
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"json": {"name": "v", "images": [{"path": "/a", "format": "qcow2"}, {"path": "/b"}]}},
        {"json": {"name": "v", "images": {"image": [{"path": "/a", "format": "cow"}, {"path": "/b"}]}}},
        {
            "content": "<import><name>v</name><images><image><path>/a</path><format>cow</format></image>"
            "<image><path>/b</path></image></images></import>",
            "headers": XML,
        },
    ],
)
def test_imports(api: Api, body: dict[str, object]) -> None:
    answer = api.http.post(f"{API}/vmseal/imports", **body)
    assert answer.status_code == 202
    images = (ImportedImage(path="/a", format="cow"), ImportedImage(path="/b"))
    assert api.commands.requests == [ImportVmRequest(name="v", images=images)]


def test_imports_that_lack_something_are_refused(api: Api) -> None:
    for body in ({"name": "v"}, {"images": [{"path": "/a"}]}, {"name": "v", "images": [{"format": "raw"}]}):
        answer = api.http.post(f"{API}/vmseal/imports", json=body)
        assert (answer.status_code, answer.json()["reason"]) == (400, "Incomplete parameters")
    strange = api.http.post(f"{API}/vmseal/imports", json={"name": "v", "images": [{"path": "/a", "format": "vmdk"}]})
    assert strange.status_code == 400


def test_the_seal_report_is_json_for_everyone(api: Api) -> None:
    _add_everything(api)
    (template,) = api.http.get(f"{API}/templates?search=name=t1", headers=JSON).json()["template"]
    assert template["sealed"] is False
    report = api.http.get(f"{template['href']}/sealreport")
    assert report.json() == {"sealer": "virt-sysprep"}
    assert api.http.get(f"{API}/templates/{BLANK_TEMPLATE}/sealreport").status_code == 404


def test_a_statement_is_json_for_everyone_and_its_verification_too(api: Api) -> None:
    _add_everything(api)
    (template,) = api.http.get(f"{API}/templates?search=name=t1", headers=JSON).json()["template"]
    for missing in ("attestation", "verification"):
        assert api.http.get(f"{template['href']}/{missing}").status_code == 404
        assert api.http.get(f"{API}/templates/{BLANK_TEMPLATE}/{missing}").status_code == 404
    envelope = {"payloadType": "application/vnd.in-toto+json", "payload": "e30=", "signatures": []}
    with api.database.session() as session:
        row = Attestation(template_id=template["id"], digests={}, envelope=envelope, verification={"verified": True})
        session.add(row)
    assert api.http.get(f"{template['href']}/attestation").json() == envelope
    assert api.http.get(f"{template['href']}/verification").json() == {"verified": True}
    for action, command in (("attest", "AttestVmTemplate"), ("verify", "VerifyVmTemplate")):
        answer = api.http.post(f"{template['href']}/{action}", json={}, headers=JSON).json()
        assert answer["status"] == "complete"
        assert api.http.get(f"{API}/jobs/{answer['job']['id']}", headers=JSON).json()["command"] == command


def test_keys_of_statements_are_shown_and_rotated(api: Api) -> None:
    made = api.http.post(f"{API}/vmseal/attestationkeys/rotate", json={}, headers=JSON).json()
    (key,) = api.http.get(f"{API}/vmseal/attestationkeys", headers=JSON).json()["attestation_key"]
    assert key == made == api.http.get(made["href"], headers=JSON).json()
    assert key["public_key"].startswith("-----BEGIN PUBLIC KEY-----")
    assert "retired" not in key
    assert "<public_key>-----BEGIN" in api.http.get(f"{API}/vmseal/attestationkeys").text
    assert api.http.get(f"{API}/vmseal/attestationkeys/{'0' * 64}").status_code == 404


def test_only_the_administrator_rotates_the_key(tmp_path: Path) -> None:
    with api_in(tmp_path, others=["user@internal"]) as api:
        answer = api.http.post(f"{API}/vmseal/attestationkeys/rotate", json={}, auth=("user@internal", PASSWORD))
        assert answer.status_code == 403
        assert api.commands.requests == []


def test_a_template_is_proved_and_its_proof_is_json_for_everyone(api: Api) -> None:
    _add_everything(api)
    (template,) = api.http.get(f"{API}/templates?search=name=t1", headers=JSON).json()["template"]
    assert api.http.get(f"{template['href']}/proof").status_code == 404
    answer = api.http.post(f"{template['href']}/prove", json={}, headers=JSON)
    assert (answer.status_code, answer.json()["status"]) == (200, "complete")
    assert answer.json()["job"]["id"]
    assert api.commands.requests[-1] == template["id"]
    with api.database.session() as session:
        session.get_one(Template, template["id"]).proof = {"passed": False}
    assert api.http.get(f"{template['href']}/proof").json() == {"passed": False}


def test_a_job_can_be_cancelled_once_it_runs_only(api: Api) -> None:
    job = _add_template(api).find("job")
    assert job is not None
    answer = api.http.post(f"{job.get('href')}/cancel", content="<action/>", headers=XML)
    assert (answer.status_code, etree.fromstring(answer.content).findtext("status")) == (200, "complete")
    assert api.http.get(str(job.get("href")), headers=JSON).json()["cancel_requested"] is True
    api.commands.finish(str(job.get("id")))
    refused = api.http.post(f"{job.get('href')}/cancel")
    assert refused.status_code == 409
    assert "[Cannot cancel Job. The job has ended.]" in refused.text
    assert api.http.post(f"{API}/jobs/{new_id()}/cancel").status_code == 404


def test_who_waits_for_a_job_hears_of_its_end_at_once(api: Api) -> None:
    job = _add_template(api).find("job")
    assert job is not None
    address = str(job.get("href"))
    begin = time.monotonic()
    assert api.http.get(f"{address}?wait=0.2", headers=JSON).json()["status"] == "started"
    assert time.monotonic() - begin >= 0.2, "it was held back"
    for useless in ("x", "-1", "nan", ""):
        assert api.http.get(f"{address}?wait={useless}", headers=JSON).json()["status"] == "started"
    ending = threading.Timer(0.2, api.commands.finish, [str(job.get("id"))])
    ending.start()
    begin = time.monotonic()
    answer = api.http.get(f"{address}?wait=8&follow=steps", headers=JSON).json()
    assert (answer["status"], answer["steps"]["step"][0]["status"]) == ("finished", "finished")
    assert 0.2 <= time.monotonic() - begin < 4
    ending.join()
    assert api.http.get(f"{API}/jobs/{new_id()}?wait=8").status_code == 404
    assert time.monotonic() - begin < 6, "nobody waits for what is over or was never there"


def test_removing_always_answers_200_with_an_action(api: Api) -> None:
    answer = api.http.request("DELETE", f"{API}/vms/{api.ids.vm}?async=true")
    assert (answer.status_code, etree.fromstring(answer.content).tag) == (200, "action")
    assert api.http.request("DELETE", f"{API}/vms/{api.ids.vm}").status_code == 409
    assert api.http.request("DELETE", f"{API}/vms/{new_id()}").status_code == 404
    assert api.http.request("DELETE", f"{API}/vms/{api.ids.windows}?detach_only=true").status_code == 400


def test_a_disk_says_where_its_leaf_volume_is(api: Api) -> None:
    disk = api.http.get(f"{API}/disks/{api.ids.disk}", headers=JSON).json()
    with api.database.read() as session:
        volume = session.get_one(Disk, api.ids.disk).volume_id
    assert disk["path"] == f"/srv/domain/{api.ids.storage_domain}/images/{api.ids.disk}/{volume}"


@pytest.mark.parametrize("path", ["", "/", "//vms", "/vms/", "/v4/vms", "/vms;max=1"])
def test_slashes_and_versions_in_addresses(api: Api, path: str) -> None:
    assert api.http.get(f"{API}{path}").status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404), ("/vms/1/2/3/4/5", 404), ("x", 404), ("/v3/vms", 400), ("/vms/nonsense", 400),
        (f"/vms/{BLANK_TEMPLATE}", 404), (f"/vms/{BLANK_TEMPLATE}/nics", 404), ("/events/99999999999999999999", 404),
        ("/events/x", 404), ("/disks/%00", 400), ("/vms/%2e%2e", 400),
    ],
)  # fmt: skip
@pytest.mark.parametrize("media", ["application/xml", "application/json"])
def test_faults_are_read_by_clients_of_both_kinds(api: Api, path: str, status: int, media: str) -> None:
    answer = api.http.get(f"{API}{path}", headers={"Accept": media})
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith(media)
    if "json" in media:
        assert answer.json()["reason"]
        assert answer.json()["detail"]
    else:
        assert etree.fromstring(answer.content).findtext("reason")


def test_a_method_that_an_address_does_not_take(api: Api) -> None:
    answer = api.http.request("DELETE", f"{API}/vms")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")
    assert etree.fromstring(answer.content).tag == "fault"


def test_head_is_get_without_the_body(api: Api) -> None:
    get, head = api.http.get(f"{API}/vms"), api.http.request("HEAD", f"{API}/vms")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(get.content))


@pytest.mark.parametrize("version", ["3", "5", "four"])
def test_other_versions_are_refused(api: Api, version: str) -> None:
    assert api.http.get(API, headers={"Version": version}).status_code == 400
    assert api.http.get(API, headers={"Version": "4"}).status_code == 200


def test_the_correlation_id_is_cleaned_echoed_and_made(api: Api) -> None:
    answer = api.http.post(
        f"{API}/templates", content=TEMPLATE, headers=XML | {"Correlation-Id": "a b/c_d-1" + "x" * 50}
    )
    assert answer.headers["correlation-id"] == "abc_d-1" + "x" * 29
    assert api.commands.callers[0].correlation_id == answer.headers["correlation-id"]
    assert api.http.get(f"{API}?correlation_id=mine").headers["correlation-id"] == "mine"
    assert re.fullmatch(
        "[0-9a-f-]{36}", api.http.get(API, headers={"Correlation-Id": b"\xa7"}).headers["correlation-id"]
    )


@pytest.mark.parametrize(
    "body",
    [
        b"<template>", b"no xml", b"\xff\xfe", b"<a>&#0;</a>", b"<a>\x01</a>", b"<t><name>\xff</name></t>",
        b'<!DOCTYPE t [<!ENTITY e SYSTEM "file:///etc/passwd">]><template><name>&e;</name></template>',
        b'<!DOCTYPE t [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><template x="&b;"/>',
        b'<!DOCTYPE t SYSTEM "http://127.0.0.1:1/x.dtd"><template/>',
        b"<a>" * 5000 + b"</a>" * 5000,
    ],
)  # fmt: skip
def test_xml_that_is_not_well_formed_or_dangerous_is_refused(api: Api, body: bytes) -> None:
    answer = api.http.post(f"{API}/templates", content=body, headers=XML)
    assert answer.status_code == 400
    assert "root:" not in answer.text
    assert api.commands.requests == []


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"[]", b'"x"', b"[" * 100_000, b'{"a":' * 100_000, b'{"name": "\\u0000"}', b'{"a b": 1}', b"\xff",
        b'{"a":' * 100 + b"1" + b"}" * 100,
    ],
)  # fmt: skip
def test_json_that_is_not_well_formed_or_dangerous_is_refused(api: Api, body: bytes) -> None:
    answer = api.http.post(f"{API}/templates", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert api.commands.requests == []


def test_bodies_of_other_types_are_refused(api: Api) -> None:
    answer = api.http.post(f"{API}/templates", content="name=t1", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415


def test_bodies_that_are_too_large_are_refused(api: Api) -> None:
    large = b"<template>" + b" " * (1 << 20) + b"</template>"
    assert api.http.post(f"{API}/templates", content=large, headers=XML).status_code == 400

    async def chunks() -> AsyncIterator[bytes]:  # without a length
        yield large[:1000]
        yield large[1000:]

    assert api.http.post(f"{API}/templates", content=chunks(), headers=XML).status_code == 400


def test_text_in_other_character_sets(api: Api) -> None:
    body = TEMPLATE.replace("t1", "größe").encode("latin-1")
    answer = api.http.post(f"{API}/templates", content=body, headers={"Content-Type": "text/xml; charset=ISO-8859-1"})
    assert etree.fromstring(answer.content).findtext("name") == "größe"
    unknown = api.http.post(f"{API}/templates", content=body, headers={"Content-Type": "text/xml; charset=x-none"})
    assert unknown.status_code == 400


def test_pages_of_other_sites_change_nothing(api: Api) -> None:
    answer = api.http.request("DELETE", f"{API}/vms/{api.ids.vm}", headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    assert api.commands.requests == []
    assert api.http.request("DELETE", f"{API}/vms/{api.ids.vm}", headers={"Origin": "http://engine"}).status_code == 200


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("application/json", "json"), ("text/html,application/json;q=0.5", "json"), ("*/*", "xml"),
        ("text/html", "xml"),
        ("application/json, */*", "json"), ("application/xml, application/json;q=0.9", "xml"),
        ("application/xml;q=0.1, application/json", "json"), ("", "xml"), ("application/*", "xml"),
    ],
)  # fmt: skip
def test_which_form_a_client_gets(api: Api, accept: str, media: str) -> None:
    answer = api.http.get(API, headers={"Accept": accept})
    assert answer.headers["content-type"].startswith(f"application/{media}")


# ------------------------------------------------------------------------------------------------------------- sign-in


def _token(api: Api, **fields: str) -> tuple[int, dict[str, str]]:
    form = {"grant_type": "password", "scope": "ovirt-app-api", "username": USER, "password": PASSWORD} | fields
    answer = api.http.post("/ovirt-engine/sso/oauth/token", data=form, auth=None)
    return answer.status_code, answer.json()


def _status(api: Api, authorization: str) -> int:
    return api.http.get(API, auth=None, headers={"Authorization": authorization.encode("latin-1")}).status_code


def test_nobody_gets_in_without_credentials(api: Api) -> None:
    answer = api.http.get(f"{API}/vms", auth=None)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="RESTAPI"'
    assert etree.fromstring(answer.content).tag == "fault"
    assert api.http.get(f"{API}/vms", auth=None, headers=JSON).json()["detail"]
    assert api.http.get(f"{API}/nothing", auth=None).status_code == 401
    for wrong in ("Basic", "Basic ###", "Basic YQ==", "Basic /w==", "Bearer", "Bearer x", "Digest a", "Bearer \u00e9"):
        assert _status(api, wrong) == 401, wrong


def test_a_token_is_good_until_it_is_revoked(api: Api) -> None:
    status, content = _token(api)
    assert (status, content["token_type"], content["scope"]) == (200, "bearer", "ovirt-app-api")
    assert isinstance(content["exp"], str)
    token = content["access_token"]
    assert _status(api, f"Bearer {token}") == 200
    with api.database.read() as session:
        assert token not in session.scalars(sa.select(Session.token_hash)).one()
    for _ in range(2):
        answer = api.http.post("/ovirt-engine/services/sso-logout", data={"token": token}, auth=None)
        assert (answer.status_code, answer.json()) == (200, {})
    assert _status(api, f"Bearer {token}") == 401


def test_the_token_request_may_be_in_the_query(api: Api) -> None:
    query = {"grant_type": "password", "scope": "ovirt-app-api", "username": USER, "password": PASSWORD}
    assert api.http.post("/ovirt-engine/sso/oauth/token", params=query, auth=None).json()["access_token"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"password": "x"}, "access_denied"), ({"username": "admin"}, "access_denied"),
        ({"password": ""}, "invalid_request"),
        ({"grant_type": ""}, "invalid_request"), ({"grant_type": "code"}, "unsupported_grant_type"),
        ({"scope": "other"}, "invalid_scope"),
    ],
)  # fmt: skip
def test_token_requests_that_are_refused(api: Api, fields: dict[str, str], code: str) -> None:
    status, content = _token(api, **fields)
    assert (status, content["error_code"]) == (400, code)
    assert content["error"]
    assert "access_token" not in content


def test_a_token_that_nobody_uses_dies(api: Api) -> None:
    token = _token(api)[1]["access_token"]

    def use_it(minutes_ago: int) -> None:
        with api.database.session() as session:
            session.execute(sa.update(Session).values(used=now() - dt.timedelta(minutes=minutes_ago)))

    use_it(29)
    assert _status(api, f"Bearer {token}") == 200
    with api.database.read() as session:
        assert now() - session.scalars(sa.select(Session.used)).one() < dt.timedelta(minutes=1)
    use_it(31)
    assert _status(api, f"Bearer {token}") == 401
    _token(api)
    with api.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Session)) == 1


def test_a_token_of_a_user_who_is_gone_is_refused(api: Api) -> None:
    token = _token(api)[1]["access_token"]
    with api.database.session() as session:
        session.execute(sa.update(Session).values(user_name="gone@internal"))
    assert _status(api, f"Bearer {token}") == 401


def test_guessing_is_slowed_down(api: Api) -> None:
    answers = [_token(api, password="wrong")[1]["error"] for _ in range(6)]
    assert "Too many wrong passwords" not in answers[4]
    assert "Too many wrong passwords" in answers[5]
    assert "Too many wrong passwords" in _token(api)[1]["error"]  # the right one has to wait too
    assert "Too many" not in _token(api, username="other@internal")[1]["error"]


def test_certificates_are_served_to_everyone(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("-----BEGIN CERTIFICATE-----\n")
    path = "/ovirt-engine/services/pki-resource"
    with api_in(tmp_path, ApiSettings(ca=ca)) as api:
        answer = api.http.get(path, auth=None, params={"resource": "ca-certificate"})
        assert (answer.status_code, answer.text) == (200, ca.read_text())
        assert answer.headers["content-type"] == "application/x-x509-ca-cert"
        assert api.http.get(path, params={"resource": "engine-certificate"}).status_code == 404
        for wrong in ({}, {"resource": "x"}, {"resource": "ca-certificate", "format": "x"}):
            assert api.http.get(path, params=wrong).status_code == 400
