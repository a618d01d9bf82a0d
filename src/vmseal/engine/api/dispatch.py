"""One endpoint for the whole API: who asks, for what, in which form; then the collection's function, in a thread."""

from __future__ import annotations

from dataclasses import dataclass, replace
from http import HTTPStatus

import structlog
from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from vmseal.engine.accounts import Accounts, shown_name
from vmseal.engine.api.authorization import user_of
from vmseal.engine.api.exchange import Answer, Call, View
from vmseal.engine.api.faults import Fault, refused
from vmseal.engine.api.follow import Follow
from vmseal.engine.api.representation import json_writer, xml_writer
from vmseal.engine.api.representation.body import canonical_uuid
from vmseal.engine.api.representation.entity import Content, Document
from vmseal.engine.api.routes import Route, Routes
from vmseal.engine.api.settings import ApiSettings
from vmseal.engine.api.transport import (
    Address,
    address_of,
    correlation_id,
    peer_of,
    read_body,
    read_limited,
    require_same_origin,
    require_version,
    waits_for_end,
    wants_json,
)
from vmseal.engine.api.waiting import JobWaits, patience
from vmseal.engine.database import Database
from vmseal.engine.requests import Caller, Commands, Refusal
from vmseal.engine.sign_in import SignIn
from vmseal.engine.tables import Job
from vmseal.model.entities import TaskStatus

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Asked:
    """A request of somebody we know, for an address that exists."""

    route: Route
    ids: tuple[str, ...]
    address: Address
    user_name: str


class Dispatcher:
    """Serves every address below ``/ovirt-engine/api``."""

    def __init__(
        self,
        commands: Commands,
        database: Database,
        *,
        accounts: Accounts,
        sign_in: SignIn,
        routes: Routes,
        settings: ApiSettings,
    ) -> None:
        self._commands = commands
        self._database = database
        self._accounts = accounts
        self._sign_in = sign_in
        self._routes = routes
        self._settings = settings
        self._waits = JobWaits(database, settings.poll_interval)

    async def serve(self, request: Request) -> Response:
        """Answer a request; whatever goes wrong becomes a fault that clients can read."""
        address = address_of(request)
        correlation = correlation_id(request, address)
        with structlog.contextvars.bound_contextvars(correlation_id=correlation):
            try:
                answer = await self._answer(request, address, correlation)
                response = self._response(request, address, answer)
            except Fault as fault:
                response = self._fault(request, address, fault)
            except Exception:  # the last line of defence: logged, and the client learns no internals
                log.exception("a request crashed", method=request.method, path=request.url.path)
                detail = f"Internal error; the engine's log says more under correlation id {correlation}."
                response = self._fault(request, address, Fault(HTTPStatus.INTERNAL_SERVER_ERROR, detail))
        response.headers["Correlation-Id"] = correlation
        return response

    async def _answer(self, request: Request, address: Address, correlation: str) -> Answer:
        user_name = await user_of(request.headers.get("authorization", ""), self._sign_in, peer=peer_of(request))
        require_version(request, address)
        route, ids = self._find(request.method, address)
        asked = _Asked(route, ids, address, user_name)
        if request.method in ("GET", "HEAD"):
            if route.can_wait and (seconds := patience(address.parameters)):
                await self._waits.end(canonical_uuid(ids[0]), request, limit=seconds)
            content = await run_in_threadpool(self._read, asked)
            return Answer(status=HTTPStatus.OK, content=content)
        require_same_origin(request)
        data = await read_limited(request, self._settings.max_body)
        answer = await run_in_threadpool(self._act, asked, Caller(shown_name(user_name), correlation), request, data)
        if answer.job_id is not None and answer.href is not None and waits_for_end(request):
            return await self._at_end(request, asked, answer)
        return answer

    def _find(self, method: str, address: Address) -> tuple[Route, tuple[str, ...]]:
        found = self._routes.find("GET" if method == "HEAD" else method, address.segments)
        if found is not None:
            return found
        path = "/".join(address.segments)[:255]
        methods = self._routes.methods(address.segments)
        if not methods:
            raise Fault(HTTPStatus.NOT_FOUND, f"There is nothing at {path!r}.", reason="Not Found")
        detail = f"{path!r} does not take {method}, only {', '.join(methods)}."
        raise Fault(HTTPStatus.METHOD_NOT_ALLOWED, detail, reason="Method not allowed")

    def _read(self, asked: _Asked) -> Content:
        with self._database.read() as session:
            view = View(
                session=session,
                accounts=self._accounts,
                user_name=asked.user_name,
                parameters=asked.address.parameters,
            )
            if asked.route.read is None:
                raise TypeError(f"The route {asked.route.pattern} has no function to read")
            content = asked.route.read(view, *asked.ids)
            Follow(self._routes, view).apply(content, asked.address.parameters.text("follow") or "")
            return content

    def _act(self, asked: _Asked, caller: Caller, request: Request, data: bytes) -> Answer:
        call = Call(
            commands=self._commands,
            database=self._database,
            accounts=self._accounts,
            caller=caller,
            user_name=asked.user_name,
            parameters=asked.address.parameters,
            body=read_body(request, data if request.method in ("POST", "PUT") else b""),
        )
        if asked.route.act is None:
            raise TypeError(f"The route {asked.route.pattern} has no function to act")
        try:
            return asked.route.act(call, *asked.ids)
        except Refusal as refusal:
            log.info("refused", key=refusal.key, detail=refusal.detail, user=caller.user_name)
            raise refused(refusal, asked.route.action) from None

    async def _at_end(self, request: Request, asked: _Asked, answer: Answer) -> Answer:
        """Return the answer when the work has ended: what it made, or why it failed."""
        if answer.job_id is not None and not await self._waits.end(answer.job_id, request):
            return answer
        return await run_in_threadpool(self._ended, asked, answer)

    def _ended(self, asked: _Asked, answer: Answer) -> Answer:
        with self._database.read() as session:
            job = session.get(Job, answer.job_id)
        if job is not None and job.status != TaskStatus.FINISHED:
            raise Fault(HTTPStatus.INTERNAL_SERVER_ERROR, f"[{asked.route.action} {job.reason or 'It failed.'}]")
        href = answer.href or ""
        route, ids = self._find("GET", Address(tuple(href.strip("/").split("/")), asked.address.parameters, ""))
        content = self._read(replace(asked, route=route, ids=ids))
        return Answer(status=HTTPStatus.CREATED, content=content, href=href)

    def _response(self, request: Request, address: Address, answer: Answer) -> Response:
        response = self._written(request, address, answer.content, status=answer.status)
        if answer.status is HTTPStatus.CREATED and answer.href is not None:
            response.headers["Location"] = address.base + answer.href
        return response

    def _fault(self, request: Request, address: Address, fault: Fault) -> Response:
        response = self._written(request, address, fault.entity, status=fault.status)
        if fault.status is HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = 'Basic realm="RESTAPI"'
        if fault.status is HTTPStatus.METHOD_NOT_ALLOWED:
            response.headers["Allow"] = ", ".join(self._routes.methods(address.segments))
        return response

    def _written(self, request: Request, address: Address, content: Content, *, status: HTTPStatus) -> Response:
        if isinstance(content, Document) or wants_json(request):
            data, media = json_writer.write(content, address.base), "application/json"
        else:
            data, media = xml_writer.write(content, address.base), "application/xml"
        headers = {"Content-Length": str(len(data)), "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        return Response(b"" if request.method == "HEAD" else data, status, headers, f"{media}; charset=UTF-8")
