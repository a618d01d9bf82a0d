"""Proof of a template: two clones are booted, and must be two machines that nothing but their making has in common."""

from vmseal.proof.prover import Prover
from vmseal.proof.report import CloneReport, ProofReport
from vmseal.proof.request import BootBy, Firmware, ProofRequest

__all__ = ["BootBy", "CloneReport", "Firmware", "ProofReport", "ProofRequest", "Prover"]
