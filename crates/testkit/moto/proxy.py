"""The data plane of a load balancer's listener: an HTTP proxy that obeys the listener's rules as they are right now."""

import fnmatch
import http.client
import itertools
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
}
PRIVILEGED = 1024
PATIENCE = 60


class Listener:
    """One listener: a server on the listener's own port if that is free and unprivileged, else on any."""

    def __init__(self, balancer, role, backend, listener, health):
        """`health` says of each (target group, port) what its last check said."""
        self.balancer = balancer
        self.role = role
        self.backend = backend
        self.listener = listener
        self.health = health
        self.turn = itertools.count()
        handler = type("Handler", (Handler,), {"owner": self})
        self.server = bind(int(listener.port), handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        """Stop listening."""
        self.server.shutdown()
        self.server.server_close()

    def target(self, path):
        """The (status, port) that a request for this path gets: 200 and where to send it, or why not."""
        rules = [rule for rule in self.listener.rules.values() if not rule.is_default]
        for rule in sorted(rules, key=lambda rule: int(rule.priority)):
            if matches(rule, path):
                return self.forward(rule)
        return 404, None

    def forward(self, rule):
        """Choose a target group by weight, then a healthy target in turn."""
        weights = weights_of(rule)
        chosen = [(arn, weight) for arn, weight in weights if weight > 0]
        if not chosen:
            return 503, None
        arns, shares = zip(*chosen, strict=True)
        group = self.backend.target_groups.get(random.choices(arns, shares)[0])
        ports = [int(target["Port"]) for target in group.targets.values()]
        healthy = [p for p in ports if self.health.get((group.arn, p)) == "healthy"]
        # As AWS: when no target is healthy, all of them are asked.
        ports = healthy or ports
        if not ports:
            return 503, None
        return 200, ports[next(self.turn) % len(ports)]


def bind(port, handler):
    """A server on this port, or on a free one."""
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer.request_queue_size = 128
    if port >= PRIVILEGED:
        try:
            return ThreadingHTTPServer(("127.0.0.1", port), handler)
        except OSError:
            pass
    return ThreadingHTTPServer(("127.0.0.1", 0), handler)


def matches(rule, path):
    """Whether the rule's path patterns take this path."""
    for condition in rule.conditions:
        if condition.get("Field") == "path-pattern":
            values = condition.get("Values") or condition.get(
                "PathPatternConfig", {}
            ).get("Values", [])
            if not any(fnmatch.fnmatchcase(path, value) for value in values):
                return False
    return True


def weights_of(rule):
    """The target groups that a rule forwards to, with their weights."""
    for action in rule.actions:
        if action.type != "forward":
            continue
        groups = action.data.get("ForwardConfig", {}).get("TargetGroups")
        if groups:
            return [(g["TargetGroupArn"], int(g.get("Weight", 1))) for g in groups]
        return [(action.data["TargetGroupArn"], 1)]
    return []


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    owner = None

    def relay(self):
        """Send the request on and its answer back."""
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        status, port = self.owner.target(self.path.split("?")[0])
        if port is None:
            self.reply(status, [("Content-Type", "text/plain")], b"")
            return
        try:
            self.reply(*self.fetch(port, body))
        except (OSError, http.client.HTTPException):
            self.reply(502, [("Content-Type", "text/plain")], b"")

    def fetch(self, port, body):
        """Ask the target."""
        upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            headers = {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in HOP_BY_HOP
            }
            headers["X-Forwarded-For"] = self.client_address[0]
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            kept = [
                (name, value)
                for name, value in answer.getheaders()
                if name.lower() not in HOP_BY_HOP
            ]
            return answer.status, kept, answer.read()
        finally:
            upstream.close()

    def reply(self, status, headers, body):
        """Answer the client."""
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = relay

    def log_message(self, *_args):
        """Say nothing."""
