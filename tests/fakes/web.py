"""Serves an application on a free loopback port, in a thread."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

START_DEADLINE = 20.0  # seconds


@contextmanager
def served(app: FastAPI, *, key: Path | None = None, certificate: Path | None = None) -> Iterator[str]:
    """Serve ``app`` while the block runs; yields "http://127.0.0.1:port", or https with key and certificate."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_level="error", lifespan="off", ssl_keyfile=key, ssl_certfile=certificate, timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + START_DEADLINE
    while not server.started:
        if time.monotonic() > deadline or not thread.is_alive():
            raise TimeoutError(f"The application did not start within {START_DEADLINE} s")
        time.sleep(0.01)
    scheme = "https" if key else "http"
    try:
        yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(START_DEADLINE)
        listener.close()
    if thread.is_alive():
        raise TimeoutError(f"The application did not stop within {START_DEADLINE} s")
