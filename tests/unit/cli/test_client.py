"""The REST client: signing in, faults, and an engine that goes away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from vmseal.cli.client import (
    Access,
    AuthenticationFailed,
    EngineClient,
    EngineError,
    NotFound,
    Refused,
    Unreachable,
    find_access,
)
from vmseal.cli.options import Options

Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler) -> EngineClient:
    access = Access("http://127.0.0.1:1", "admin@internal", "secret")
    return EngineClient(access, transport=httpx.MockTransport(handler))


def signing_in(handler: Handler) -> Handler:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/ovirt-engine/sso/oauth/token":
            return httpx.Response(200, json={"access_token": "t1"})
        if request.url.path == "/ovirt-engine/services/sso-logout":
            return httpx.Response(200, json={})
        return handler(request)

    return handle


def fault(status: int) -> Handler:
    body = {"fault": {"reason": "Operation Failed", "detail": "[Cannot add Template. Name is taken]"}}
    return signing_in(lambda _: httpx.Response(status, json=body))


def test_signs_in_once_and_out_at_the_end() -> None:
    paths: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        if "oauth" in request.url.path:
            return httpx.Response(200, json={"access_token": "t1"})
        assert request.headers.get("Authorization") in {"Bearer t1", None}
        return httpx.Response(200, json={"vm": [{"id": "1"}]})

    with client(handle) as engine:
        assert engine.list("vms") == [{"id": "1"}]
        assert engine.list("vms") == [{"id": "1"}]
    assert paths == [
        "/ovirt-engine/sso/oauth/token",
        "/ovirt-engine/api/vms",
        "/ovirt-engine/api/vms",
        "/ovirt-engine/services/sso-logout",
    ]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Refused), (409, Refused), (404, NotFound), (403, AuthenticationFailed), (500, EngineError)],
)
def test_a_fault_becomes_an_error_with_its_detail(status: int, kind: type[EngineError]) -> None:
    with client(fault(status)) as engine, pytest.raises(kind) as caught:
        engine.get("templates/1")
    assert str(caught.value) == "Cannot add Template. Name is taken"
    assert caught.value.status == status


def test_an_old_token_is_replaced_once() -> None:
    tokens = iter(["old", "new"])

    def handle(request: httpx.Request) -> httpx.Response:
        if "oauth" in request.url.path:
            return httpx.Response(200, json={"access_token": next(tokens)})
        if "logout" in request.url.path:
            return httpx.Response(200, json={})
        known = request.headers["Authorization"] == "Bearer new"
        return httpx.Response(200 if known else 401, json={"id": "1"})

    with client(handle) as engine:
        assert engine.get("vms/1") == {"id": "1"}


def test_a_wrong_password_says_so() -> None:
    answer = httpx.Response(400, json={"error_code": "access_denied", "error": "Cannot authenticate user"})
    with client(lambda _: answer) as engine, pytest.raises(AuthenticationFailed, match="Cannot authenticate user"):
        engine.get("vms")


def test_an_engine_that_is_not_there_is_unreachable() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with client(handle) as engine, pytest.raises(Unreachable, match="vmseal up"):
        engine.get("vms")


def test_patience_survives_a_restart_of_the_engine() -> None:
    answers: Iterator[httpx.Response | Exception] = iter(
        [httpx.ConnectError("refused"), httpx.Response(503), httpx.Response(200, json={"id": "1"})]
    )

    def handle(_request: httpx.Request) -> httpx.Response:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with client(signing_in(handle)) as engine:
        assert engine.patiently(lambda: engine.get("jobs/1")) == {"id": "1"}


def options(state: Path, url: str | None = None) -> Options:
    return Options(json=False, verbose=False, state=state, url=url)


def test_access_is_found_in_the_state_folder(tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "admin-password").write_text("secret\n")
    (tmp_path / "up.json").write_text(json.dumps({"url": "https://127.0.0.1:8443", "ca_file": "/ca.pem"}))
    assert find_access(options(tmp_path)) == Access(
        "https://127.0.0.1:8443", "admin@internal", "secret", Path("/ca.pem")
    )


def test_the_password_file_that_up_was_given_is_found(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_text("secret\n")
    (tmp_path / "up.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "password_file": str(given)}))
    assert find_access(options(tmp_path)).password == "secret"


@pytest.mark.parametrize(
    "url", ["http://h:1", "http://h:1/", "http://h:1/ovirt-engine/api", "http://h:1/ovirt-engine/api/?x=1"]
)
def test_any_address_of_the_engine_will_do(tmp_path: Path, url: str) -> None:
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "admin-password").write_text("secret")
    assert find_access(options(tmp_path, url)).url == "http://h:1"


@pytest.mark.parametrize("url", ["h:1", "ftp://h", "", "http://"])
def test_what_is_no_address_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(Unreachable):
        find_access(options(tmp_path, url))


def test_no_engine_in_the_state_folder(tmp_path: Path) -> None:
    (tmp_path / "up.json").write_text("{")
    with pytest.raises(Unreachable, match="vmseal up"):
        find_access(options(tmp_path))


def test_no_password(tmp_path: Path) -> None:
    with pytest.raises(AuthenticationFailed, match="--password-file"):
        find_access(options(tmp_path, "http://127.0.0.1:1"))
