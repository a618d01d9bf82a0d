"""The web UI: NiceGUI pages in the engine's process. It asks commands and queries, and holds no rule of its own."""
