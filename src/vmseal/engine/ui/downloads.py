"""What is known of a template as files: behind the gate like the pages, and from the same queries."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from vmseal.engine.queries import template_detail as queries
from vmseal.engine.ui.live import Live

PATH = "/download/templates/{template_id}/{document}"
DOCUMENTS: Mapping[str, Callable[[Session, str], dict[str, Any] | None]] = {
    "seal-report.json": queries.seal_report,
    "audit.json": queries.audit_report,
    "proof.json": queries.proof_report,
    "attestation.json": queries.envelope,
}


class Downloads:
    """Answers requests for documents."""

    def __init__(self, live: Live) -> None:
        self._live = live

    async def answer(self, request: Request) -> Response:
        """Return a document, as a file."""
        template_id, name = request.path_params["template_id"], request.path_params["document"]
        query = DOCUMENTS.get(name)
        document = await self._live.read(query, template_id) if query is not None else None
        if document is None:
            return Response("There is no such document.\n", HTTPStatus.NOT_FOUND, media_type="text/plain")
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
        return Response(json.dumps(document, indent=2) + "\n", headers=headers, media_type="application/json")
