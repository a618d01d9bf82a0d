"""Statements about templates: what their disks are, signed so that anybody can verify it without an engine."""
