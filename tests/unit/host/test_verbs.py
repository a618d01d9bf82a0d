from __future__ import annotations

import asyncio

import pytest

from vmseal.host.verbs import Verbs, parse
from vmseal.model.errors import VerbError
from vmseal.model.volume import BLANK_UUID
from vmseal.rpc.parameters import Parameters
from vmseal.rpc.server import Call
from vmseal.rpc.verb import VERBS, CopyData, CreateVolume, Echo, PrepareImage, Seal, UpdateVolume, VolumeParameters

ID = "7f3b7a52-4a0e-4f55-8f6e-1e0f3a9d4b02"
CALL = Call("flow", "peer")
VOLUME = {"sd_id": ID, "img_id": ID, "vol_id": ID}
CREATE = {
    "volumeID": ID,
    "storagepoolID": ID,
    "storagedomainID": ID,
    "imageID": ID,
    "size": "4096",
    "volFormat": 4,
    "preallocate": 2,
    "diskType": "DATA",
    "desc": "",
    "srcImgUUID": BLANK_UUID,
    "srcVolUUID": BLANK_UUID,
}


async def answer(parameters: Parameters) -> object:
    return type(parameters).__name__


def verbs() -> Verbs:
    return Verbs(dict.fromkeys(VERBS, answer))


def code_of(model: type[Parameters], params: object) -> int:
    with pytest.raises(VerbError) as caught:
        parse("Some.verb", model, params)
    return caught.value.code


def test_every_verb_needs_a_handler() -> None:
    with pytest.raises(ValueError, match=r"VM\.seal"):
        Verbs({name: answer for name in VERBS if name != "VM.seal"})


@pytest.mark.parametrize("method", ["SDM.create_volume", "Host.nothing", "nothing", "", "Host.getJobs2"])
def test_unknown_verbs_are_not_found(method: str) -> None:
    with pytest.raises(VerbError) as caught:
        asyncio.run(verbs().dispatch(method, {}, CALL))
    assert caught.value.code == -32601


def test_nothing_is_served_while_recovering() -> None:
    served = verbs()
    served.is_ready = False
    with pytest.raises(VerbError) as caught:
        asyncio.run(served.dispatch("Host.ping2", {}, CALL))
    assert caught.value.code == 99


@pytest.mark.parametrize("params", [{"message": "hi", "extra": 1}, ["hi"], ["hi", "too many"]])
def test_parameters_come_as_object_or_list(params: object) -> None:
    assert parse("Host.echo", Echo, params).wire() == {"message": "hi"}


def test_a_list_is_in_the_schemas_order() -> None:
    others = [f"0000000{number}-0000-0000-0000-000000000000" for number in range(4)]
    found = parse("Volume.getInfo", VolumeParameters, others)
    names = ("volumeID", "storagepoolID", "storagedomainID", "imageID")
    assert found.wire() == dict(zip(names, others, strict=True))


@pytest.mark.parametrize("params", [{}, [], None])
def test_a_missing_parameter_is_an_internal_error(params: object) -> None:
    assert code_of(Echo, params) == -32603
    assert code_of(CreateVolume, params) == -32603


def test_a_seal_without_images_is_an_internal_error() -> None:
    assert code_of(Seal, {"vmID": "x", "job_id": "j", "sp_id": ID}) == -32603


@pytest.mark.parametrize("bad", ["", "x", "../../etc", 5, None, f"{ID}/.."])
def test_a_bad_uuid_is_error_100(bad: object) -> None:
    assert code_of(PrepareImage, {"storagepoolID": ID, "storagedomainID": ID, "imageID": bad, "volumeID": ID}) == 100
    assert code_of(Seal, {"vmID": "x", "job_id": "j", "sp_id": ID, "images": [VOLUME | {"img_id": bad}]}) == 100


def test_uuids_are_made_canonical() -> None:
    found = parse("Volume.getInfo", VolumeParameters, [ID.upper(), ID.replace("-", ""), f"{{{ID}}}", f"urn:uuid:{ID}"])
    assert set(found.wire().values()) == {ID}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"volFormat": "COW"}, 202),
        ({"volFormat": "4"}, 202),
        ({"volFormat": None}, 202),
        ({"preallocate": "2"}, 231),
        ({"preallocate": True}, 231),
        ({"volumeID": "x"}, 1000),
        ({"imageID": "../x"}, 1000),
        ({"size": 4096.5}, 1000),
    ],
)
def test_volume_create_has_codes_of_its_own(changes: dict[str, object], code: int) -> None:
    assert code_of(CreateVolume, CREATE | changes) == code


@pytest.mark.parametrize(
    "source", [{"endpoint_type": "other", **VOLUME}, VOLUME, {"endpoint_type": "external", "url": "file:///x"}]
)
def test_copy_data_needs_a_known_endpoint(source: dict[str, object]) -> None:
    params = {"job_id": "j", "source": source, "destination": {"endpoint_type": "div", **VOLUME}}
    assert code_of(CopyData, params) == 100


@pytest.mark.parametrize("generation", [-1, 1000, "0", 1.0, True])
def test_a_generation_is_a_number_of_three_digits(generation: object) -> None:
    params = {"job_id": "j", "vol_info": VOLUME | {"generation": generation}, "vol_attr": {"legality": "LEGAL"}}
    assert code_of(UpdateVolume, params) == 100


@pytest.mark.parametrize("attributes", [{"type": "LEAF"}, {"legality": "FAKE"}, {"generation": 1000}])
def test_update_volume_takes_only_what_it_knows(attributes: dict[str, object]) -> None:
    assert code_of(UpdateVolume, {"job_id": "j", "vol_info": VOLUME, "vol_attr": attributes}) == 100


def test_the_handler_gets_the_verbs_own_parameters() -> None:
    assert asyncio.run(verbs().dispatch("Host.ping2", None, CALL)) == "NoParameters"
    assert asyncio.run(verbs().dispatch("Volume.create", CREATE, CALL)) == "CreateVolume"
