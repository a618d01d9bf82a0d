"""What engine and host share: the verbs' contract and how it travels (JSON-RPC 2.0 in STOMP over mutual TLS)."""
