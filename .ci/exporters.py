#!/usr/bin/env python3
"""Round trip of traces through OpenTelemetry's Python exporters, the collector and its query API.

usage: exporters.py OTLP_GRPC OTLP_HTTP QUERY      e.g. 127.0.0.1:4317 http://127.0.0.1:4318 http://127.0.0.1:16686
Sends one trace over each transport, with and without gzip, and reads it back through version 3 of the API (OTLP JSON, must
be equal) and version 1 (types and values for Jaeger's UI). Exit status 0 when all are equal.
"""
import base64
import json
import sys
import urllib.request

import grpc
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as OverGrpc
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as OverHttp
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

grpc_address, http_base, query = sys.argv[1:]
EXPORTERS = {
    "gRPC": lambda: OverGrpc(endpoint=grpc_address, insecure=True),
    "gRPC with gzip": lambda: OverGrpc(endpoint=grpc_address, insecure=True, compression=grpc.Compression.Gzip),
    "HTTP": lambda: OverHttp(endpoint=http_base + "/v1/traces"),
    "HTTP with gzip": lambda: OverHttp(endpoint=http_base + "/v1/traces", compression=Compression.Gzip),
}
ATTRIBUTES = {
    "text": "ü \"quoted\" <b>", "empty": "", "yes": True, "no": False, "int": -(2**63), "small": 7, "double": 0.1,
    "texts": ["a", "b"], "ints": [1, 2], "doubles": [0.5], "bools": [True, False],
}


def send(name, exporter):
    """Sends a trace of two spans and returns the finished spans of the SDK."""
    sent = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "python " + name, "host.cores": 2}))
    provider.add_span_processor(SimpleSpanProcessor(sent))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("round-trip", "1.2", attributes={"scope": "yes"})
    # No trace state: these exporters do not send the trace state of links.
    elsewhere = trace.SpanContext(2**127 + 5, 2**63 + 7, True)
    with tracer.start_as_current_span("GET /cart", kind=trace.SpanKind.SERVER, attributes=ATTRIBUTES) as root:
        root.add_event("slow", {"why": "lock", "ms": 3})
        link = trace.Link(elsewhere, {"link": 1})
        with tracer.start_as_current_span("look up", kind=trace.SpanKind.CLIENT, links=[link]) as child:
            child.set_status(trace.StatusCode.ERROR, "too slow")
    provider.shutdown()
    return sent.get_finished_spans()


def get(path):
    with urllib.request.urlopen(query + path) as reply:
        return json.load(reply)


def value(any_value):
    """Returns the Python value of an OTLP JSON value."""
    (kind, held), = any_value.items() or [("stringValue", None)]
    if kind == "intValue":
        return int(held)
    if kind == "arrayValue":
        return tuple(value(item) for item in held.get("values", []))
    return base64.b64decode(held) if kind == "bytesValue" else held


def attributes(pairs):
    return {pair["key"]: value(pair["value"]) for pair in pairs or []}


def spans_of(resource_spans):
    """Returns the spans of a version 3 reply by span id, in the form that `expected` returns."""
    spans = {}
    for of_resource in resource_spans:
        for of_scope in of_resource["scopeSpans"]:
            scope = of_scope["scope"]
            origin = (attributes(of_resource["resource"]["attributes"]), scope["name"], scope["version"],
                      attributes(scope["attributes"]))
            for span in of_scope["spans"]:
                events = [(e["name"], int(e["timeUnixNano"]), attributes(e["attributes"])) for e in span.get("events", [])]
                links = [(l["traceId"], l["spanId"], attributes(l["attributes"]))
                         for l in span.get("links", [])]
                status = span.get("status", {})
                spans[span["spanId"]] = (
                    span["traceId"], span.get("parentSpanId", ""), span["name"], span["kind"],
                    int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"]), attributes(span.get("attributes")),
                    events, links, status.get("code", 0), status.get("message", ""), origin)
    return spans


def expected(sent):
    spans = {}
    for span in sent:
        scope = span.instrumentation_scope
        origin = (dict(span.resource.attributes), scope.name, scope.version, dict(scope.attributes))
        events = [(e.name, e.timestamp, dict(e.attributes)) for e in span.events]
        links = [("%032x" % l.context.trace_id, "%016x" % l.context.span_id, dict(l.attributes)) for l in span.links]
        parent = "%016x" % span.parent.span_id if span.parent else ""
        spans["%016x" % span.context.span_id] = (
            "%032x" % span.context.trace_id, parent, span.name, span.kind.value + 1, span.start_time, span.end_time,
            dict(span.attributes), events, links, span.status.status_code.value, span.status.description or "", origin)
    return spans


def ui_types(trace_id):
    """Returns the types and values of the root span's attributes in version 1."""
    spans = get("/api/traces/" + trace_id)["data"][0]["spans"]
    root, = [span for span in spans if not span["references"]]
    return {tag["key"]: (tag["type"], tag["value"]) for tag in root["tags"] if tag["key"] in ATTRIBUTES}


UI = {
    "text": ("string", ATTRIBUTES["text"]), "empty": ("string", ""), "yes": ("bool", True), "no": ("bool", False),
    # Larger than the integers that a JavaScript number represents exactly.
    "int": ("int64", str(-(2**63))), "small": ("int64", 7), "double": ("float64", 0.1), "texts": ("string", '["a","b"]'),
    "ints": ("string", "[1,2]"), "doubles": ("string", "[0.5]"), "bools": ("string", "[true,false]"),
}

failed = 0
for name, exporter in EXPORTERS.items():
    sent = expected(send(name, exporter()))
    trace_id = next(iter(sent.values()))[0]
    received = spans_of(get("/api/v3/traces/" + trace_id)["result"]["resourceSpans"])
    same = received == sent and ui_types(trace_id) == UI
    print("ok  " if same else "FAIL", name)
    if not same:
        failed += 1
        print("  sent", sent, "\n  received", received, "\n  version 1", ui_types(trace_id))
sys.exit(1 if failed else 0)
