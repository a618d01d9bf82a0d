"""What the engine tells people: one table of events with oVirt's numbers, and how an event is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from sqlalchemy.orm import Session

from vmseal.engine.tables import Event
from vmseal.model.entities import Severity


class EventCode(IntEnum):
    """oVirt's numbers of the events that vmseal has, and numbers of its own."""

    VDS_FAILURE = 12  # host does not respond
    VDS_DETECTED = 13  # host is up
    USER_FAILED_REMOVE_VM = 58
    USER_REMOVE_VM_FINISHED = 113
    IMPORTEXPORT_STARTING_IMPORT_VM = 1165
    IMPORTEXPORT_IMPORT_VM = 1152
    IMPORTEXPORT_IMPORT_VM_FAILED = 1153
    USER_ADD_VM_STARTED = 37
    USER_ADD_VM_FINISHED_SUCCESS = 53
    USER_ADD_VM = 34
    USER_ADD_VM_FINISHED_FAILURE = 60
    USER_ADD_VM_TEMPLATE = 48
    USER_ADD_VM_TEMPLATE_FINISHED_SUCCESS = 51
    USER_ADD_VM_TEMPLATE_FINISHED_FAILURE = 52
    USER_ADD_VM_TEMPLATE_CREATE_TEMPLATE_FAILURE = 1322
    USER_ADD_VM_TEMPLATE_ASSIGN_ILLEGAL_FAILURE = 1323
    USER_ADD_VM_TEMPLATE_SEAL_FAILURE = 1324
    USER_UPDATE_VM_TEMPLATE = 49
    USER_REMOVE_VM_TEMPLATE = 50
    USER_REMOVE_VM_TEMPLATE_FINISHED = 251
    USER_FAILED_REMOVE_VM_TEMPLATE = 110
    # Ours; oVirt's end below.
    TEMPLATE_PROOF_STARTED = 20010
    TEMPLATE_PROOF_PASSED = 20011
    TEMPLATE_PROOF_NOT_PASSED = 20012
    TEMPLATE_PROOF_FAILED = 20013
    USER_ADD_VM_TEMPLATE_PROOF_FAILURE = 20014
    TEMPLATE_AUDIT_STARTED = 20020
    TEMPLATE_AUDIT_PASSED = 20021
    TEMPLATE_AUDIT_NOT_PASSED = 20022
    TEMPLATE_AUDIT_FAILED = 20023
    TEMPLATE_NOT_AUDITED = 20024
    USER_ADD_VM_FAILED_AUDIT = 20025
    TEMPLATE_ATTESTED = 20030
    TEMPLATE_ATTESTATION_FAILED = 20031
    TEMPLATE_VERIFIED = 20032
    TEMPLATE_NOT_VERIFIED = 20033
    TEMPLATE_VERIFICATION_FAILED = 20034
    TEMPLATE_ATTESTATION_STARTED = 20035
    TEMPLATE_VERIFICATION_STARTED = 20036
    ATTESTATION_KEY_ROTATED = 20037


_NORMAL, _WARNING, _ERROR = Severity.NORMAL, Severity.WARNING, Severity.ERROR

EVENTS: dict[EventCode, tuple[Severity, str]] = {
    EventCode.VDS_FAILURE: (_ERROR, "Host {host} does not respond: {reason}"),
    EventCode.VDS_DETECTED: (_NORMAL, "Host {host} is up."),
    EventCode.IMPORTEXPORT_STARTING_IMPORT_VM: (_NORMAL, "Import of VM {vm} was started by {user}."),
    EventCode.IMPORTEXPORT_IMPORT_VM: (_NORMAL, "VM {vm} was imported."),
    EventCode.IMPORTEXPORT_IMPORT_VM_FAILED: (_ERROR, "VM {vm} could not be imported: {reason}"),
    EventCode.USER_ADD_VM: (_NORMAL, "VM {vm} was created by {user}."),
    EventCode.USER_ADD_VM_STARTED: (_NORMAL, "Creation of VM {vm} from template {template} was started by {user}."),
    EventCode.USER_ADD_VM_FINISHED_SUCCESS: (_NORMAL, "VM {vm} was created from template {template}."),
    EventCode.USER_ADD_VM_FINISHED_FAILURE: (_ERROR, "VM {vm} could not be created: {reason}"),
    EventCode.USER_REMOVE_VM_FINISHED: (_NORMAL, "VM {vm} was removed by {user}."),
    EventCode.USER_FAILED_REMOVE_VM: (_ERROR, "VM {vm} could not be removed: {reason}"),
    EventCode.USER_ADD_VM_TEMPLATE: (
        _NORMAL,
        "Creation of template {template} from VM {vm} was started by {user}.",
    ),
    EventCode.USER_ADD_VM_TEMPLATE_FINISHED_SUCCESS: (_NORMAL, "Template {template} was created from VM {vm}."),
    EventCode.USER_ADD_VM_TEMPLATE_FINISHED_FAILURE: (
        _ERROR,
        "Template {template} could not be created from VM {vm}: {reason}",
    ),
    EventCode.USER_ADD_VM_TEMPLATE_CREATE_TEMPLATE_FAILURE: (
        _ERROR,
        "Template {template} could not be created from VM {vm}: copying the disks failed: {reason}",
    ),
    EventCode.USER_ADD_VM_TEMPLATE_ASSIGN_ILLEGAL_FAILURE: (
        _ERROR,
        "Template {template} could not be created from VM {vm}: preparing the disks for sealing failed: {reason}",
    ),
    EventCode.USER_ADD_VM_TEMPLATE_SEAL_FAILURE: (
        _ERROR,
        "Template {template} could not be created from VM {vm}: sealing failed: {reason}",
    ),
    EventCode.USER_ADD_VM_TEMPLATE_PROOF_FAILURE: (
        _ERROR,
        "Template {template} could not be created from VM {vm}: its proof has not passed: {reason}",
    ),
    EventCode.USER_UPDATE_VM_TEMPLATE: (_NORMAL, "Template {template} was edited by {user}."),
    EventCode.USER_REMOVE_VM_TEMPLATE: (_NORMAL, "Removal of template {template} was started by {user}."),
    EventCode.USER_REMOVE_VM_TEMPLATE_FINISHED: (_NORMAL, "Template {template} was removed."),
    EventCode.USER_FAILED_REMOVE_VM_TEMPLATE: (_ERROR, "Template {template} could not be removed: {reason}"),
    EventCode.TEMPLATE_PROOF_STARTED: (_NORMAL, "Proof of template {template} was started by {user}."),
    EventCode.TEMPLATE_PROOF_PASSED: (_NORMAL, "Two clones of template {template} are two machines."),
    EventCode.TEMPLATE_PROOF_NOT_PASSED: (_WARNING, "Template {template} does not make different machines: {reason}"),
    EventCode.TEMPLATE_PROOF_FAILED: (_ERROR, "Template {template} could not be proved: {reason}"),
    EventCode.TEMPLATE_AUDIT_STARTED: (_NORMAL, "Audit of template {template} was started by {user}."),
    EventCode.TEMPLATE_AUDIT_PASSED: (_NORMAL, "The audit of template {template} has found nothing that matters."),
    EventCode.TEMPLATE_AUDIT_NOT_PASSED: (
        _WARNING,
        "The audit of template {template} has found what is left of a machine: {reason}",
    ),
    EventCode.TEMPLATE_AUDIT_FAILED: (_ERROR, "Template {template} could not be audited: {reason}"),
    EventCode.TEMPLATE_NOT_AUDITED: (_WARNING, "Template {template} was sealed, and not audited: {reason}"),
    EventCode.USER_ADD_VM_FAILED_AUDIT: (
        _WARNING,
        "VM {vm} is made of template {template}, whose last audit has not passed: {reason}",
    ),
    EventCode.TEMPLATE_ATTESTED: (_NORMAL, "A statement about template {template} was signed."),
    EventCode.TEMPLATE_ATTESTATION_FAILED: (
        _ERROR,
        "No statement about template {template} was signed: {reason}. `vmseal template attest` tries again.",
    ),
    EventCode.TEMPLATE_VERIFIED: (_NORMAL, "Template {template} is what its statement says."),
    EventCode.TEMPLATE_NOT_VERIFIED: (_ERROR, "Template {template} is not what its statement says: {reason}"),
    EventCode.TEMPLATE_VERIFICATION_FAILED: (_ERROR, "Template {template} could not be verified: {reason}"),
    EventCode.TEMPLATE_ATTESTATION_STARTED: (_NORMAL, "A statement about template {template} was asked for by {user}."),
    EventCode.TEMPLATE_VERIFICATION_STARTED: (_NORMAL, "Verification of template {template} was started by {user}."),
    EventCode.ATTESTATION_KEY_ROTATED: (_NORMAL, "The key of statements was replaced by {user}: {reason}."),
}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Whom and what an event is about. Ids are kept beside the names, which may change or go."""

    user: str = ""
    correlation_id: str = ""
    vm_id: str | None = None
    vm: str = ""
    template_id: str | None = None
    template: str = ""
    host_id: str | None = None
    host: str = field(default="")
    storage_domain_id: str | None = None


def record(session: Session, code: EventCode, subject: Subject, *, reason: str = "") -> None:
    """Write an event in the session's transaction."""
    severity, text = EVENTS[code]
    session.add(
        Event(
            code=int(code),
            severity=severity.value,
            description=text.format(
                user=subject.user, vm=subject.vm, template=subject.template, host=subject.host, reason=reason
            ),
            correlation_id=subject.correlation_id,
            user_name=subject.user,
            vm_id=subject.vm_id,
            vm_name=subject.vm,
            template_id=subject.template_id,
            template_name=subject.template,
            host_id=subject.host_id,
            storage_domain_id=subject.storage_domain_id,
        )
    )
