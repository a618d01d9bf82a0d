"""Statements about templates, in a line for people."""

from __future__ import annotations

from vmseal.attestation.envelope import of_json
from vmseal.attestation.refused import Refused
from vmseal.attestation.statement import Statement
from vmseal.cli.client import EngineClient, NotFound


def in_words(statement: Statement) -> str:
    """Return how the template was sealed, and whether audit and proof have passed."""
    said = statement.predicate
    seal = f"sealed by {said.seal.sealer}, profile {said.seal.profile}" if said.seal else "not sealed"
    audit = "no audit" if said.audit is None else f"audit {'passed' if said.audit.passed else 'not passed'}"
    proof = "no proof" if said.proof is None else f"proof {'passed' if said.proof.passed else 'not passed'}"
    return f"{seal}; {audit}; {proof}"


def signed_in_words(statement: Statement, key_id: str) -> str:
    """Return when the statement was signed, and with which key."""
    return f"signed {statement.predicate.times.signed:%Y-%m-%d %H:%M} UTC by key {key_id}"


def summary(client: EngineClient, template_id: str) -> str:
    """Return when the template's statement was signed; it is not verified here. "none" where there is none."""
    try:
        envelope = of_json(dict(client.get(f"templates/{template_id}/attestation")))
        statement = Statement.model_validate_json(envelope.payload)
    except NotFound:
        return "none"
    except (Refused, ValueError):
        return "damaged"
    return signed_in_words(statement, ", ".join(signature.key_id for signature in envelope.signatures))
