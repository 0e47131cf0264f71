"""Checks calls and answers that the stage wrote down against AWS's own service models, as botocore carries them.

Reads the file that is named, one JSON object for each line; prints one line for each thing that differs, and exits with 1 if
there is any.
"""

import glob
import gzip
import json
import os
import re
import sys
import xml.etree.ElementTree as ElementTree
from urllib.parse import parse_qsl

import botocore
import cbor2

MODELS = {
    "ecs": "ecs",
    "elasticloadbalancing": "elbv2",
    "rds": "rds",
    "ssm": "ssm",
    "logs": "logs",
    "monitoring": "cloudwatch",
    "sts": "sts",
    "scheduler": "scheduler",
}
# Errors that every service may give, and those that only say that a call is none.
GENERAL = {
    "ThrottlingException", "Throttling", "InternalFailure", "ServerException", "AccessDenied", "AccessDeniedException",
    "UnrecognizedClientException", "InvalidClientTokenId", "MissingAuthenticationToken", "SignatureDoesNotMatch",
    "InvalidSignatureException", "UnknownOperationException", "InvalidAction", "ValidationError", "ValidationException",
    "SerializationException", "InvalidParameterValue", "InvalidParameterCombination",
}
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")


def load(service):
    """The newest model of a service."""
    folder = os.path.join(os.path.dirname(botocore.__file__), "data", MODELS[service])
    newest = sorted(glob.glob(os.path.join(folder, "*", "service-2.json*")))[-1]
    opened = gzip.open if newest.endswith(".gz") else open
    with opened(newest, "rt") as file:
        return json.load(file)


class Check:
    """One message against its shape."""

    def __init__(self, model):
        self.shapes = model["shapes"]
        self.found = []

    def say(self, path, text):
        self.found.append(f"{path or 'the message'}: {text}")

    def scalar(self, shape, value, path):
        limits = (("max", lambda a, b: a > b), ("min", lambda a, b: a < b))
        size = len(value) if isinstance(value, str) else value
        for name, beyond in limits:
            if name in shape and isinstance(size, (int, float)) and beyond(size, shape[name]):
                self.say(path, f"{value!r} is beyond the {name} of {shape[name]}")
        if "enum" in shape and value not in shape["enum"]:
            self.say(path, f"{value!r} is none of {shape['enum']}")
        if "pattern" in shape and isinstance(value, str):
            try:
                fits = re.search(shape["pattern"], value)
            except re.error:
                return
            if not fits:
                self.say(path, f"{value!r} does not fit {shape['pattern']}")

    def json(self, name, value, path=""):
        """JSON or CBOR."""
        shape = self.shapes[name]
        kind = shape["type"]
        fits = {
            "structure": dict, "map": dict, "list": list, "string": str, "boolean": bool, "blob": (str, bytes),
        }
        if kind in fits:
            if not isinstance(value, fits[kind]):
                return self.say(path, f"{value!r} is no {kind}")
        elif isinstance(value, bool):
            return self.say(path, f"{value!r} is no {kind}")
        elif kind in ("integer", "long"):
            if not isinstance(value, int):
                return self.say(path, f"{value!r} is no {kind}")
        elif kind in ("float", "double"):
            if not isinstance(value, (int, float)):
                return self.say(path, f"{value!r} is no {kind}")
        elif kind == "timestamp" and not (isinstance(value, (int, float)) or hasattr(value, "year")):
            return self.say(path, f"{value!r} is no time")
        if kind == "structure":
            self.structure(shape, value, path)
        elif kind == "list":
            for at, item in enumerate(value):
                self.json(shape["member"]["shape"], item, f"{path}[{at}]")
        elif kind == "map":
            for key, item in value.items():
                self.json(shape["value"]["shape"], item, f"{path}.{key}")
        else:
            self.scalar(shape, value, path)

    def structure(self, shape, value, path):
        # Those in a path or a query string are written down under their own names.
        members = {n if "location" in m else m.get("locationName", n): m["shape"] for n, m in shape["members"].items()}
        for missing in set(shape.get("required", [])) - set(value):
            self.say(path, f"{missing} is missing")
        for key, item in value.items():
            if key not in members:
                self.say(path, f"{key} is no member")
            elif item is None:
                self.say(f"{path}.{key}", "is null: AWS leaves out what there is not")
            else:
                self.json(members[key], item, f"{path}.{key}")

    def text(self, shape, value, path):
        """A scalar that is written as text."""
        kind = shape["type"]
        if kind in ("integer", "long"):
            if not re.fullmatch(r"-?\d+", value):
                return self.say(path, f"{value!r} is no {kind}")
            value = int(value)
        elif kind in ("float", "double"):
            try:
                value = float(value)
            except ValueError:
                return self.say(path, f"{value!r} is no {kind}")
        elif kind == "boolean":
            if value not in ("true", "false"):
                self.say(path, f"{value!r} is neither true nor false")
            return None
        elif kind == "timestamp":
            if not TIME.match(value):
                self.say(path, f"{value!r} is no time")
            return None
        return self.scalar(shape, value, path)

    def xml(self, name, element, path=""):
        """An element of an answer in XML."""
        shape = self.shapes[name]
        if shape["type"] == "structure":
            members = {m.get("locationName", n): m["shape"] for n, m in shape["members"].items()}
            names = [tag(child) for child in element]
            for missing in set(shape.get("required", [])) - set(names):
                self.say(path, f"{missing} is missing")
            for child in element:
                if tag(child) not in members:
                    self.say(path, f"{tag(child)} is no member")
                elif names.count(tag(child)) > 1:
                    self.say(path, f"{tag(child)} is there twice")
                else:
                    self.xml(members[tag(child)], child, f"{path}.{tag(child)}")
        elif shape["type"] == "list":
            item = shape["member"].get("locationName", "member")
            for at, child in enumerate(element):
                if tag(child) != item:
                    self.say(path, f"{tag(child)} is in the place of {item}")
                self.xml(shape["member"]["shape"], child, f"{path}[{at}]")
        elif len(element):
            self.say(path, f"there are elements within a {shape['type']}")
        else:
            self.text(shape, element.text or "", path)

    def query(self, name, form):
        """A request in a form."""
        tree = {}
        for key, value in form:
            at = tree
            *parents, last = key.split(".")
            for part in parents:
                at = at.setdefault(part, {})
            at[last] = value
        self.form(name, tree, "")

    def form(self, name, value, path):
        shape = self.shapes[name]
        if shape["type"] == "structure":
            members = {m.get("locationName", n): m["shape"] for n, m in shape["members"].items()}
            by_name = {n: m["shape"] for n, m in shape["members"].items()}
            for missing in set(shape.get("required", [])) - set(value):
                self.say(path, f"{missing} is missing")
            for key, item in value.items():
                known = by_name.get(key) or members.get(key)
                if known is None:
                    self.say(path, f"{key} is no member")
                else:
                    self.form(known, item, f"{path}.{key}")
        elif shape["type"] == "list":
            if value == "":
                return
            item = shape["member"].get("locationName", "member")
            if not shape.get("flattened"):
                if set(value) != {item}:
                    return self.say(path, f"{sorted(value)} is in the place of {item}")
                value = value[item]
            for key, one in value.items():
                self.form(shape["member"]["shape"], one, f"{path}[{key}]")
        else:
            self.text(shape, value, path)


def tag(element):
    return element.tag.rsplit("}", 1)[-1]


def error_code(call):
    if call["protocol"] == "rest":
        return call["error"]
    if call["protocol"] == "query":
        root = ElementTree.fromstring(call["answer"])
        return next((e.text for e in root.iter() if tag(e) == "Code"), None)
    return read(call, "answer").get("__type", "").rsplit("#", 1)[-1]


def read(call, side):
    if call["protocol"] == "cbor":
        return cbor2.loads(bytes.fromhex(call[side])) if call[side] else {}
    return json.loads(call[side] or "{}")


def check_error(model, operation, call, found):
    code = error_code(call)
    for error in operation.get("errors", []):
        shape = model["shapes"][error["shape"]]
        said = shape.get("error", {})
        if code in (error["shape"], said.get("code")):
            wanted = said.get("httpStatusCode")
            if wanted and call["protocol"] == "query" and wanted != call["status"]:
                found.append(f"{code} has status {wanted}, not {call['status']}")
            return
    if code not in GENERAL:
        found.append(f"{code} is none of its errors")


def check_call(model, call):
    operation = model["operations"].get(call["operation"])
    if operation is None:
        return [] if call["status"] >= 400 else ["there is no such operation, and it was answered"]
    found = []
    if call["status"] >= 400:
        check_error(model, operation, call, found)
        return found
    asked, told = Check(model), Check(model)
    wanted, answer = operation.get("input"), operation.get("output")
    if call["protocol"] == "query":
        form = [(k, v) for k, v in parse_qsl(call["request"], keep_blank_values=True) if k not in ("Action", "Version")]
        if wanted:
            asked.query(wanted["shape"], form)
        root = ElementTree.fromstring(call["answer"])
        if tag(root) != call["operation"] + "Response":
            told.say("", f"the root is {tag(root)}")
        if answer:
            wrapper = answer.get("resultWrapper", call["operation"] + "Result")
            inside = [child for child in root if tag(child) == wrapper]
            if inside:
                told.xml(answer["shape"], inside[0])
            else:
                told.say("", f"there is no {wrapper}")
    else:
        if wanted:
            asked.json(wanted["shape"], read(call, "request"))
        if answer:
            told.json(answer["shape"], read(call, "answer"))
    found += [f"request: {text}" for text in asked.found]
    found += [f"answer: {text}" for text in told.found]
    return found


def main():
    models, wrong, calls = {}, set(), 0
    with open(sys.argv[1], encoding="utf-8") as lines:
        for line in lines:
            call = json.loads(line)
            if call["service"] not in MODELS:
                continue
            calls += 1
            model = models.setdefault(call["service"], None) or load(call["service"])
            models[call["service"]] = model
            for text in check_call(model, call):
                wrong.add(f"{call['service']} {call['operation']}: {text}")
    for text in sorted(wrong):
        print(text)
    print(f"{calls} calls", file=sys.stderr)
    return 1 if wrong else 0


sys.exit(main())
