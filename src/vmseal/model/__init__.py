"""Values and rules that engine, host and CLI share; no input or output."""
