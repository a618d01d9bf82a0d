"""Real guests for the demo and the tests: disk images made from Debian's packages, and their booting."""
