"""Proof of a template: two clones are booted, and must be two machines that nothing but their making has in common."""

from vmseal.proof.prover import Prover
from vmseal.proof.report import CloneReport, ProofReport
from vmseal.proof.request import Firmware, ProofRequest

__all__ = ["CloneReport", "Firmware", "ProofReport", "ProofRequest", "Prover"]
