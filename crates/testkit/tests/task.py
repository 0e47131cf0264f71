"""What a task of the test runs: says who it is, is healthy, and dies at once if its version is `crash`."""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Answers every path alike."""

    def do_GET(self):
        """Say the version and the database."""
        body = f"{os.environ['RELEASE_VERSION']} {os.environ.get('DATABASE_URL')}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args):
        """Say nothing."""


if os.environ["RELEASE_VERSION"] == "crash":
    sys.exit(1)
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
