"""vmseal turns virtual machines into sealed templates."""

__version__ = "0.1.0"
