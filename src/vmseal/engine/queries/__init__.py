"""What can be seen of the engine's things, and oVirt's search language: what api and ui read with."""
