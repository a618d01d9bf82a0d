"""The engine: oVirt-compatible REST API over durable commands."""
