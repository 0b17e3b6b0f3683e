// The trace of a request. The balancer starts it and names it in the `traceresponse` header (W3C Trace Context, Level 2). The
// page sends no `traceparent`: it exports no span, so every trace would lack its root.

/** Shows the request and the id of its trace; hides both if the request is not traced. */
export function showTrace(request, response) {
  const traceId = response.headers.get("traceresponse")?.split("-")[1];
  document.getElementById("trace-request").textContent = request;
  document.getElementById("trace-id").textContent = traceId ?? "";
  document.getElementById("trace").hidden = !traceId;
}
