"""The command line: thin, one function per sub-command; rules live in the engine, the host and the sealers."""
