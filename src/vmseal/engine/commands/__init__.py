"""The engine's commands: durable units of work with phases and one undo path."""
