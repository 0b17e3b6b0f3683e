// The public API, as the balancer offers it. Each call resolves to the reply's JSON or rejects with a Failure.

import * as session from "/session.js";
import { newTrace, showTrace } from "/trace.js";

// Longer than any deadline inside the system, so that its own answer comes first.
const DEADLINE_MS = 15_000;

/** Why there is no answer: a problem's `code`, or "unreachable", "offline", "timeout", "superseded", "session_ended". */
export class Failure extends Error {
  constructor(code, status = 0) {
    super(code);
    this.code = code;
    this.status = status;
  }
}

export function logIn(username, password) {
  return call("POST", "/token", { body: new URLSearchParams({ username, password }) });
}

export function search(subject, signal) {
  return call("GET", `/search?${new URLSearchParams({ subject })}`, { token: true, signal });
}

export function book(studentId, tutorId) {
  const body = JSON.stringify({ student_id: studentId, tutor_id: tutorId });
  return call("POST", "/book", { token: true, body, type: "application/json" });
}

/** The newest `limit` bookings older than `before`. In the background: leaves the shown trace id alone. */
export function bookings({ limit, before, background = false }) {
  const query = new URLSearchParams({ limit });
  if (before !== undefined) query.set("before", before);
  return call("GET", `/bookings?${query}`, { token: true, background });
}

async function call(method, path, { body, type, token, signal, background }) {
  const ended = session.signal();
  const { traceId, traceparent } = newTrace();
  const headers = { traceparent, accept: "application/json" };
  if (type) headers["content-type"] = type;
  if (token) headers.authorization = `Bearer ${session.current()?.token ?? ""}`;
  if (!background) showTrace(`${method} ${path.split("?")[0]}`, traceId);

  const signals = [ended, AbortSignal.timeout(DEADLINE_MS), ...(signal ? [signal] : [])];
  try {
    const response = await fetch((await base()) + path, { method, headers, body, signal: AbortSignal.any(signals) });
    if (response.ok) return await response.json();
    throw await refusal(response);
  } catch (error) {
    if (ended.aborted) throw new Failure("session_ended");
    if (signal?.aborted) throw new Failure("superseded");
    const failure = error instanceof Failure ? error : new Failure(withoutAnswer(error));
    if (token && failure.status === 401) {
      session.end("refused");
      throw new Failure("session_ended");
    }
    throw failure;
  }
}

async function refusal(response) {
  let code;
  try {
    code = (await response.json()).code;
  } catch {
    // Not a problem document: the status alone has to do.
  }
  return new Failure(typeof code === "string" ? code : `status_${response.status}`, response.status);
}

function withoutAnswer(error) {
  if (error.name === "TimeoutError") return "timeout";
  if (error instanceof SyntaxError) return "internal";
  return navigator.onLine ? "unreachable" : "offline";
}

let known;

// The API is on the page's own host, on a port that only the server knows.
function base() {
  known ??= fetch("/config.json", { signal: AbortSignal.timeout(DEADLINE_MS) })
    .then((response) => response.json())
    .then(({ api_port }) => `${location.protocol}//${location.hostname}:${api_port}`)
    .catch((error) => {
      known = undefined;
      throw error;
    });
  return known;
}
