"""The engine as the command line sees it: oVirt's REST API in JSON, faults as exceptions."""

from __future__ import annotations

import contextlib
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from vmseal.cli.exits import CommandError, ExitCode
from vmseal.cli.http import httpx
from vmseal.cli.options import Options

T = TypeVar("T")
Json = Mapping[str, object]
PATIENCE = 30.0  # seconds to wait for an engine that goes away while a command is watched: `vmseal up` restarts it
RESTART_POLL = 0.3


class EngineError(CommandError):
    """The engine answered with a fault. ``status`` is the HTTP status."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Refused(EngineError):
    """The engine refused the request; nothing was changed."""

    exit_code = ExitCode.REFUSED


class NotFound(EngineError):
    """The engine has no such thing."""

    exit_code = ExitCode.NOT_FOUND


class AuthenticationFailed(EngineError):
    """User or password are wrong, or the user may not do this."""

    exit_code = ExitCode.AUTHENTICATION


class Unreachable(EngineError):
    """No engine answers."""

    exit_code = ExitCode.UNREACHABLE


@dataclass(frozen=True)
class Access:
    """Where an engine is and who asks. ``ca_file`` None: the system's certificate authorities."""

    url: str
    user: str
    password: str
    ca_file: Path | None = None


def find_access(options: Options) -> Access:
    """Return how to reach the engine that the options name, or that runs in their state folder."""
    running = read_up(options.state)
    url = options.url or str(running.get("url", ""))
    if not url:
        raise Unreachable(f"no engine runs in {options.state}; start one with `vmseal up`, or name one with --url")
    known_ca = running.get("ca_file")
    ca_file = options.ca_file or (Path(str(known_ca)) if known_ca else None)
    known_password = running.get("password_file")
    password_file = options.password_file or Path(str(known_password or password_path(options.state)))
    return Access(_origin(url), options.user, _password(options.user, password_file), ca_file)


def read_up(state: Path) -> Json:
    """Return what ``vmseal up`` wrote about itself into its state folder; empty when it never ran or has ended."""
    try:
        content = json.loads((state / "up.json").read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: an interrupted write of an old version
        return {}
    return content if isinstance(content, dict) else {}


def _origin(url: str) -> str:
    """Return scheme, host and port of ``url``: people paste the API's address, the SDK's or the page's."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise Unreachable(f"{url!r} is not a URL: {error}") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise Unreachable(f"{url!r} is not the URL of an engine; it looks like http://127.0.0.1:8080")
    return str(parsed.copy_with(path="/", query=None, fragment=None)).rstrip("/")


def password_path(state: Path) -> Path:
    """Return the file in which the engine of a state folder keeps the administrator's first password."""
    return state / "engine" / "admin-password"


def _password(user: str, path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise AuthenticationFailed(
            f"cannot read the password of {user} from {path}: {error.strerror}; name its file with --password-file"
        ) from error


class EngineClient:
    """A signed-in session with an engine; a context manager that signs out.

    Methods raise :class:`EngineError` and its subclasses. Answers are the API's JSON documents.
    """

    def __init__(self, access: Access, *, transport: httpx.BaseTransport | None = None, timeout: float = 60.0) -> None:
        self._access = access
        self._http = httpx.Client(
            base_url=access.url, transport=transport, timeout=timeout, verify=_context(access), trust_env=False
        )
        self._token: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            with contextlib.suppress(httpx.TransportError):  # the engine is gone; the token dies of age
                self._http.post(
                    "/ovirt-engine/services/sso-logout",
                    data={"scope": "ovirt-app-api", "token": self._token},
                    timeout=5,
                )
        self._http.close()

    def get(self, path: str, **query: str | int) -> Json:
        """Return the document at ``path`` below ``/ovirt-engine/api``."""
        return self._document("GET", path, query=query)

    def list(self, path: str, **query: str | int) -> list[Json]:
        """Return the members of the collection at ``path``."""
        document = self.get(path, **query)
        for value in document.values():
            if isinstance(value, list):
                return [item for item in value if isinstance(item, dict)]
        return []

    def add(self, path: str, body: Json, **query: str | int) -> Json:
        """Post ``body`` to a collection or an action; return the answer."""
        return self._document("POST", path, body=body, query=query)

    def remove(self, path: str) -> Json:
        """Delete the thing at ``path``; return the answer."""
        return self._document("DELETE", path)

    def patiently(self, ask: Callable[[], T]) -> T:
        """Return what ``ask`` returns, waiting up to :data:`PATIENCE` seconds for an engine that is being restarted."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return ask()
            except Unreachable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(RESTART_POLL)

    def _document(
        self, method: str, path: str, *, body: Json | None = None, query: Mapping[str, str | int] | None = None
    ) -> Json:
        answer = self._ask(method, path, body, query or {})
        if answer.status_code == httpx.codes.UNAUTHORIZED:  # the token is too old, or the engine is new
            self._token = None
            answer = self._ask(method, path, body, query or {})
        if answer.is_success:
            document = answer.json() if answer.content else {}
            return document if isinstance(document, dict) else {}
        raise _fault(answer)

    def _ask(self, method: str, path: str, body: Json | None, query: Mapping[str, str | int]) -> httpx.Response:
        if self._token is None:
            self._token = self._sign_in()
        headers = {"Accept": "application/json", "Authorization": f"Bearer {self._token}", "Version": "4"}
        return self._send(method, f"/ovirt-engine/api/{path.lstrip('/')}", json=body, params=query, headers=headers)

    def _sign_in(self) -> str:
        answer = self._send(
            "POST",
            "/ovirt-engine/sso/oauth/token",
            data={
                "grant_type": "password",
                "scope": "ovirt-app-api",
                "username": self._access.user,
                "password": self._access.password,
            },
            headers={"Accept": "application/json"},
        )
        try:
            document = answer.json()
            return str(document["access_token"])
        except (ValueError, KeyError, TypeError):
            if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
                raise _fault(answer) from None
            raise AuthenticationFailed(
                f"{self._access.url} does not let {self._access.user} in: {_reason(answer)}", status=answer.status_code
            ) from None

    def _send(self, method: str, path: str, **keywords: object) -> httpx.Response:
        try:
            return self._http.request(method, path, **keywords)  # type: ignore[arg-type]  # httpx's own keywords
        except httpx.TransportError as error:
            raise Unreachable(
                f"no engine answers at {self._access.url} ({str(error) or type(error).__name__});"
                " start one with `vmseal up`"
            ) from error


def _context(access: Access) -> ssl.SSLContext | bool:
    """Return how to check the engine's certificate."""
    if not access.url.startswith("https:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # not used, and so without the authorities, which load slowly
    if access.ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(access.ca_file))
    except OSError as error:
        raise AuthenticationFailed(f"cannot use {access.ca_file} as a certificate authority: {error}") from error


def _reason(answer: httpx.Response) -> str:
    """Return the fault's words, or what comes near."""
    try:
        document = answer.json()
    except ValueError:
        document = None
    fault = document.get("fault", document) if isinstance(document, dict) else {}
    words = [str(fault[key]) for key in ("detail", "reason", "error_description", "error") if fault.get(key)]
    return words[0] if words else f"HTTP {answer.status_code} for {answer.request.method} {answer.request.url.path}"


def _fault(answer: httpx.Response) -> EngineError:
    kinds: dict[int, type[EngineError]] = {
        400: Refused,
        401: AuthenticationFailed,
        403: AuthenticationFailed,
        404: NotFound,
        409: Refused,
        503: Unreachable,
    }
    return kinds.get(answer.status_code, EngineError)(_reason(answer).strip("[]"), status=answer.status_code)
