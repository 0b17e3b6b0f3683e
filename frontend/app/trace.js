// Trace context of the page's requests. Every request starts a new trace, whose id the page shows.

/** Returns the id of a new trace and its W3C `traceparent`, with the sampled flag set. */
export function newTrace() {
  const traceId = hex(16);
  return { traceId, traceparent: `00-${traceId}-${hex(8)}-01` };
}

/** Returns the id of the trace that answered: a new one if the service does not continue traces of browsers. */
export function answeringTrace(response) {
  return response.headers.get("traceresponse")?.match(/^[0-9a-f]{2}-([0-9a-f]{32})-/)?.[1];
}

/** Shows the latest request and its trace id. */
export function showTrace(request, traceId) {
  document.getElementById("trace-request").textContent = request;
  document.getElementById("trace-id").textContent = traceId;
  document.getElementById("trace").hidden = false;
}

function hex(bytes) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
