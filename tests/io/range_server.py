"""A local web server that knows Range, and can be told to fail; and videos whose pictures say their number."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from followspot.io.video import VideoWriter


def counted_video(path, *, frames=60, fps=30.0, size=(48, 64), times=None):
    """Picture i shows i in black and white columns, which no encoder blurs away; ``times`` makes the rate vary."""
    with VideoWriter(path, height=size[0], width=size[1], fps=fps) as writer:
        for index in range(frames):
            bits = np.array([255 * (index >> bit & 1) for bit in range(8)], np.uint8)
            picture = np.broadcast_to(np.repeat(bits, size[1] // 8)[None, :, None], (*size, 3))
            writer.write(np.ascontiguousarray(picture), time_seconds=None if times is None else times[index])
    return path


def numbers(images):
    """The numbers that pictures of :func:`counted_video` show."""
    return [sum(1 << bit for bit, column in enumerate(np.split(image, 8, axis=1)) if column.mean() > 127) for image in images]


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Clients hang up in the middle; that is what the tests are about."""


class Server:
    """Serves ``files`` (path: bytes) and notes ``requests`` as (path, Range header or None).

    ``failures`` (path: list) is used up first, one entry a request: an HTTP status, ``(status, headers)``, or ``"cut"`` to send half of
    what was asked and hang up. An entry ``"always <status>"`` stays.
    """

    def __init__(self):
        self.files, self.failures, self.requests, self.tags = {}, {}, [], {}
        self.ranges = True
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                server.answer(self)

        self._http = _QuietServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        self.root = f"http://127.0.0.1:{self._http.server_port}"

    def close(self):
        self._http.shutdown()
        self._http.server_close()

    def answer(self, handler):
        path, span = handler.path, handler.headers.get("Range")
        self.requests.append((path, span))
        failure = self._failure(path)
        if isinstance(failure, tuple):
            return self._refuse(handler, *failure)
        data = self.files.get(path)
        if data is None:
            return self._refuse(handler, 404, {})
        tag = self.tags.get(path, f'"{len(data)}"')
        if (span and handler.headers.get("If-Range") not in (None, tag)) or not self.ranges:
            span = None
        first = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
        if first >= len(data):
            return self._refuse(handler, 416, {"Content-Range": f"bytes */{len(data)}"})
        body = data[first:]
        handler.send_response(206 if span else 200)
        if span:
            handler.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        for name, value in (
            ("Content-Type", "text/html" if data.startswith(b"<") else "video/mp4"),
            ("Content-Length", str(len(body))),
            ("ETag", tag),
        ):
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2] if failure == "cut" else body)
        handler.close_connection = handler.close_connection or failure == "cut"
        return None

    def _failure(self, path):
        queue = self.failures.get(path, [])
        if not queue:
            return None
        failure = queue[0]
        if isinstance(failure, str) and failure.startswith("always "):
            return int(failure.removeprefix("always ")), {}
        queue.pop(0)
        return (failure, {}) if isinstance(failure, int) else failure

    def _refuse(self, handler, status, headers):
        handler.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
