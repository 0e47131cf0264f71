"""A moto server for tests: moto, its gaps mended, and hands for its ECS.

Prints one JSON line, {"port": N}, when it answers, and ends with whoever holds its standard input open.
"""

import json
import os
import sys
import threading

import alarms
import gaps
import hands
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    create_backend_app,
)
from werkzeug.serving import WSGIRequestHandler, make_server


class Quiet(WSGIRequestHandler):
    """Requests are not worth a log line each."""

    def log_request(self, *_args):
        """Say nothing."""


def application(data_plane):
    """Moto's own WSGI application, with the hands' state beside it."""
    moto = DomainDispatcherApplication(create_backend_app)

    def answer(environ, start_response):
        if environ.get("PATH_INFO") == "/_hands":
            body = json.dumps(data_plane.describe()).encode()
            start_response("200 OK", [("Content-Type", "application/json")])
            return [body]
        if environ.get("PATH_INFO") == alarms.PATH:
            return alarms.answer(environ, start_response)
        return moto(environ, start_response)

    return answer


def end_with_parent(data_plane):
    """Wait for the end of standard input, then end the tasks and this process."""
    while sys.stdin.buffer.read(4096):
        pass
    data_plane.stop()
    os._exit(0)


def main():
    """Start everything and serve until the parent is gone."""
    gaps.mend()
    data_plane = hands.Hands(os.environ.get("LIFTLOCK_MOTO_TASK_PROGRAM"))
    hands.attach(data_plane)
    server = make_server(
        "127.0.0.1",
        0,
        application(data_plane),
        threaded=True,
        request_handler=Quiet,
    )
    os.environ["MOTO_PORT"] = str(server.server_port)
    data_plane.start()
    threading.Thread(target=end_with_parent, args=(data_plane,), daemon=True).start()
    print(json.dumps({"port": server.server_port}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
