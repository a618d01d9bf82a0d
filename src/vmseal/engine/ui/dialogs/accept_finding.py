"""Accepting a finding of an audit: why, and then the template is audited again."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from typing import Any

from nicegui.element import Element

from vmseal.engine.requests import Refusal
from vmseal.engine.ui.dialogs.refusals import plain
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets.field import Field
from vmseal.engine.ui.widgets.modal import Modal
from vmseal.engine.ui.widgets.simple import Button, Text
from vmseal.rpc.verb import AcceptedFinding


def acceptance(finding: Mapping[str, Any], reason: str) -> AcceptedFinding:
    """Return what accepts exactly this finding."""
    path = glob.escape(str(finding.get("path")))
    return AcceptedFinding(name=str(finding.get("name")), path=path, reason=reason)


def open_accept_finding(
    visit: Visit, template_id: str, finding: Mapping[str, Any], *, accepted: Sequence[AcceptedFinding]
) -> None:
    """Open the dialog; ``accepted`` is what stays accepted beside the finding."""

    async def submit() -> None:
        error.show("")
        if not reason.text:
            reason.set_error("Say why, for those who look at the audit later.")
            reason.focus()
            return
        new = acceptance(finding, reason.text)
        try:
            await visit.act(lambda commands, caller: commands.audit_vm_template(template_id, caller, [*accepted, new]))
        except Refusal as refusal:
            error.show(plain(refusal))
        else:
            modal.close()
            visit.say("The template is being audited with what is accepted.")

    with Modal("Accept this finding?") as modal:
        Text("p", f"{finding.get('name')} in {finding.get('path')} no longer counts against this template.")
        Text("p", "It is audited again with that.")
        reason = Field("Why", required=True, focused=True, submit=submit)
        error = Text("p", classes="vs-error", role="alert")
        with Element("div").classes("vs-buttons"):
            Button("Cancel", modal.close)
            Button("Accept and audit", submit, look="primary")
