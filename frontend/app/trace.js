// Every request starts a trace of its own, so that whoever sees the id can look the request up.

/** A new trace: its id, and the W3C `traceparent` that asks every hop to record it. */
export function newTrace() {
  const traceId = hex(16);
  return { traceId, traceparent: `00-${traceId}-${hex(8)}-01` };
}

/** Shows which request the person made last, and its trace id. */
export function showTrace(request, traceId) {
  document.getElementById("trace-request").textContent = request;
  document.getElementById("trace-id").textContent = traceId;
  document.getElementById("trace").hidden = false;
}

function hex(bytes) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
