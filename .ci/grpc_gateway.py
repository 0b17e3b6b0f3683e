#!/usr/bin/env python3
"""An HTTP server that answers Jaeger's API v3 through the gRPC services, and passes every other request on.

usage: grpc_gateway.py LISTEN_PORT GRPC_ADDRESS QUERY_URL DESCRIPTORS

Runs checks written for the HTTP API against `jaeger.api_v3.QueryService`. DESCRIPTORS is the file descriptor set of the
services. Needs grpcio, protobuf and opentelemetry-proto.
"""
import base64
import http.server
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections import namedtuple

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

PORT, ADDRESS, QUERY, DESCRIPTORS = sys.argv[1:]
HTTP_CODES = {grpc.StatusCode.INVALID_ARGUMENT: 400, grpc.StatusCode.NOT_FOUND: 404, grpc.StatusCode.UNAVAILABLE: 503}
NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
ID_FIELDS = {"traceId", "spanId", "parentSpanId"}

Reply = namedtuple("Reply", "status body")

pool = descriptor_pool.DescriptorPool()
with open(DESCRIPTORS, "rb") as file:
    for descriptor in descriptor_pb2.FileDescriptorSet.FromString(file.read()).file:
        pool.Add(descriptor)
channel = grpc.insecure_channel(ADDRESS)
service = pool.FindServiceByName("jaeger.api_v3.QueryService")


def call(method, request):
    """Returns the messages of the reply."""
    described = service.methods_by_name[method]
    types = [message_factory.GetMessageClass(t) for t in (described.input_type, described.output_type)]
    connect = channel.unary_stream if described.server_streaming else channel.unary_unary
    rpc = connect(f"/{service.full_name}/{method}", types[0].SerializeToString, types[1].FromString)
    reply = rpc(json_format.ParseDict(request, types[0]()), timeout=30)
    messages = list(reply) if described.server_streaming else [reply]
    options = {"use_integers_for_enums": True}
    return [json_format.MessageToDict(message, **options) for message in messages]


def with_hex_ids(value):
    """OTLP's JSON has ids in hexadecimal instead of base64."""
    if isinstance(value, list):
        return [with_hex_ids(item) for item in value]
    if isinstance(value, dict):
        return {
            key: base64.b64decode(item).hex() if key in ID_FIELDS else with_hex_ids(item) for key, item in value.items()
        }
    return value


def result(chunks):
    spans = [group for chunk in chunks for group in with_hex_ids(chunk).get("resourceSpans", [])]
    if not spans:
        return Reply(404, {"error": {"httpCode": 404, "message": "No traces found"}})
    return Reply(200, {"result": {"resourceSpans": spans}})


def duration(text):
    """Converts Go's syntax to that of protobuf's JSON."""
    parts = re.findall(r"([\d.]+)([a-zµ]+)", text)
    nanoseconds = round(sum(float(number) * NANOSECONDS[unit] for number, unit in parts))
    return "%d.%09ds" % divmod(nanoseconds, 10**9)


def query(parameters):
    fields = {name[len("query."):]: value for name, value in parameters.items() if name.startswith("query.") and value}
    for name in ("durationMin", "durationMax"):
        if name in fields:
            fields[name] = duration(fields[name])
    if "attributes" in fields:
        fields["attributes"] = json.loads(fields["attributes"])
    if "rawTraces" in fields:
        fields["rawTraces"] = fields["rawTraces"] == "true"
    return {"query": fields}


def answer(path, parameters):
    """Returns the reply to a request of API v3, or None for another path."""
    if path == "/api/v3/services":
        return Reply(200, {"services": call("GetServices", {})[0].get("services", [])})
    if path == "/api/v3/operations":
        request = {"service": parameters.get("service", ""), "spanKind": parameters.get("spanKind", "")}
        operations = call("GetOperations", request)[0].get("operations", [])
        # Over HTTP, an unspecified kind is called internal.
        named = [{"name": o.get("name", ""), "spanKind": o.get("spanKind") or "internal"} for o in operations]
        return Reply(200, {"operations": named})
    if path == "/api/v3/traces":
        return result(call("FindTraces", query(parameters)))
    if path == "/api/v3/trace-summaries":
        chunks = call("FindTraceSummaries", query(parameters))
        return Reply(200, {"summaries": [summary for chunk in chunks for summary in chunk.get("summaries", [])]})
    if path.startswith("/api/v3/traces/"):
        return result(call("GetTrace", {"traceId": path.rsplit("/", 1)[1]}))
    return None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, _, parameters = self.path.partition("?")
        try:
            reply = answer(path, dict(urllib.parse.parse_qsl(parameters)))
        except grpc.RpcError as error:
            code = HTTP_CODES.get(error.code(), 500)
            reply = Reply(code, {"error": {"httpCode": code, "message": error.details()}})
        if reply is None:
            self.pass_on()
        else:
            self.send(reply.status, "application/json", json.dumps(reply.body).encode())

    def do_POST(self):
        self.pass_on(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def pass_on(self, body=None):
        headers = {"Content-Type": self.headers["Content-Type"]} if body is not None else {}
        request = urllib.request.Request(QUERY + self.path, data=body, method=self.command, headers=headers)
        try:
            with urllib.request.urlopen(request) as reply:
                self.send(reply.status, reply.headers.get("Content-Type", ""), reply.read())
        except urllib.error.HTTPError as error:
            self.send(error.code, error.headers.get("Content-Type", ""), error.read())

    def send(self, status, content_type, body):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(PORT)), Handler).serve_forever()
