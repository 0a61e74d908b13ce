"""A local web hook that notifications are sent to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest


@contextmanager
def web_hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Its address as apprise takes it, and the messages that arrive."""
    messages: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"json://127.0.0.1:{server.server_port}", messages
        server.shutdown()


def connect(patch: pytest.MonkeyPatch, path: str) -> None:
    """Make an apprise address the connection `lungseg_notify` of this process and its children."""
    connection = {"conn_type": "apprise", "extra": {"config": {"path": path, "tag": "team"}}}
    patch.setenv("AIRFLOW_CONN_LUNGSEG_NOTIFY", json.dumps(connection))
