"""Signing statements and verifying them: first the signature, then the text, then the disks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from vmseal.attestation.digest import Digest
from vmseal.attestation.envelope import PAYLOAD_TYPE, Envelope, Signature
from vmseal.attestation.keys import PrivateKey, PublicKey
from vmseal.attestation.refused import Reason, Refused
from vmseal.attestation.statement import PREDICATE_TYPE, STATEMENT_TYPE, Statement, Subject


@dataclass(frozen=True)
class Verified:
    """A statement that may be believed, and the trusted key that signed it."""

    statement: Statement
    key_id: str


def sign(statement: Statement, key: PrivateKey) -> Envelope:
    """Return a statement in a signed envelope."""
    unsigned = Envelope(PAYLOAD_TYPE, statement.encoded(), ())
    return Envelope(PAYLOAD_TYPE, unsigned.payload, (Signature(key.public.id, key.sign(unsigned.signed)),))


def verify(envelope: Envelope, trusted: Iterable[PublicKey]) -> Verified:
    """Return the statement when one of the trusted keys has signed it; raises :class:`Refused`."""
    if envelope.payload_type != PAYLOAD_TYPE:
        raise Refused(
            Reason.PAYLOAD_TYPE, f"The envelope holds {envelope.payload_type!r}, a statement is {PAYLOAD_TYPE!r}"
        )
    key_id = _signer(envelope, {key.id: key for key in trusted})
    return Verified(_statement(envelope.payload), key_id)


def _signer(envelope: Envelope, trusted: dict[str, PublicKey]) -> str:
    if not envelope.signatures:
        raise Refused(Reason.NOT_SIGNED, "The envelope has no signature")
    known = [one for one in envelope.signatures if one.key_id in trusted]
    if not known:
        ids = ", ".join(one.key_id[:64] for one in envelope.signatures)
        raise Refused(Reason.FOREIGN_KEY, f"Signed by a key that is not trusted here: {ids}")
    for signature in known:
        if trusted[signature.key_id].verifies(signature.value, envelope.signed):
            return signature.key_id
    ids = ", ".join(one.key_id for one in known)
    raise Refused(
        Reason.EDITED, f"The text is not the one that was signed by {ids}: the statement or its signature was edited"
    )


def _statement(payload: bytes) -> Statement:
    """Return the statement in a payload whose signature is good; what is wrong here, its signer has done."""
    try:
        data = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise Refused(Reason.STATEMENT, f"What was signed is no JSON: {error}") from error
    given = data if isinstance(data, dict) else {}
    if given.get("_type") != STATEMENT_TYPE:
        raise Refused(Reason.STATEMENT_TYPE, f"_type is {given.get('_type')!r}, a statement has {STATEMENT_TYPE!r}")
    if given.get("predicateType") != PREDICATE_TYPE:
        raise Refused(
            Reason.PREDICATE_TYPE, f"predicateType is {given.get('predicateType')!r}, here it is {PREDICATE_TYPE!r}"
        )
    try:
        return Statement.model_validate_json(payload, strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Refused(
            Reason.STATEMENT, f"The statement has not the documented shape: {where}: {first['msg']}"
        ) from error


def require_sizes(statement: Statement, sizes: Sequence[int], names: Sequence[str]) -> None:
    """Check number and sizes of disks, which takes no time, before they are digested; ``names`` are for the reason."""
    subjects = statement.subject
    if len(sizes) < len(subjects):
        missing = ", ".join(subject.name for subject in subjects)
        raise Refused(
            Reason.MISSING_DISK, f"The statement is about {len(subjects)} disks ({missing}); {len(sizes)} are given"
        )
    if len(sizes) > len(subjects):
        raise Refused(
            Reason.EXTRA_DISK,
            f"The statement is about {len(subjects)} disks; {len(sizes)} are given: {', '.join(names)}",
        )
    stated = [subject.annotations.size for subject in subjects]
    if Counter(stated) == Counter(sizes):
        return  # perhaps in another order; the digests will tell
    for name, size, subject in zip(names, sizes, subjects, strict=True):
        if size != subject.annotations.size:
            raise Refused(
                Reason.DISK_SIZE, f"{name} has {size} bytes, {subject.name} had {subject.annotations.size} when signed"
            )


def require_disks(statement: Statement, digests: Sequence[Digest], names: Sequence[str]) -> None:
    """Check that the disks are those of the statement, all of them, in its order; raises :class:`Refused`."""
    require_sizes(statement, [digest.size for digest in digests], names)
    subjects = statement.subject
    if Counter(digest.sha256 for digest in digests) == Counter(subject.digest.sha256 for subject in subjects):
        _require_order(subjects, digests, names)
        return
    for name, digest, subject in zip(names, digests, subjects, strict=True):
        if digest.sha256 != subject.digest.sha256 and digest.sha256 not in _all(subjects):
            raise Refused(
                Reason.DISK_CHANGED,
                f"{name} has changed: SHA-256 {digest.sha256}, {subject.name} had {subject.digest.sha256} when signed",
            )
    raise Refused(Reason.DISK_CHANGED, f"One disk stands in for another: {', '.join(names)}")


def _require_order(subjects: Sequence[Subject], digests: Sequence[Digest], names: Sequence[str]) -> None:
    for name, digest, subject in zip(names, digests, subjects, strict=True):
        if digest.sha256 != subject.digest.sha256:
            wanted = ", ".join(one.name for one in subjects)
            raise Refused(
                Reason.DISK_ORDER,
                f"The disks are in another order: {name} is not {subject.name}; the order is {wanted}",
            )


def _all(subjects: Sequence[Subject]) -> set[str]:
    return {subject.digest.sha256 for subject in subjects}
