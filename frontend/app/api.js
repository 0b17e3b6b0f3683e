// Client of the public API. Each call resolves to the JSON of the reply or rejects with a Failure.

import * as session from "/session.js";
import { showTrace } from "/trace.js";

// Longer than any deadline inside the system, so that an error reply arrives before this deadline.
const DEADLINE_MS = 15_000;

/**
 * A call without a successful reply. `code` is the code of the problem document, `status_NNN` if the error reply has
 * none, or one of "unreachable", "offline", "timeout", "superseded" and "session_ended".
 */
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

/** Returns the subjects that are taught. Does not change the trace id shown. */
export function subjects() {
  return call("GET", "/subjects", { background: true });
}

export function book(studentId, tutorId) {
  const body = JSON.stringify({ student_id: studentId, tutor_id: tutorId });
  return call("POST", "/book", { token: true, body, type: "application/json" });
}

/** Returns the newest `limit` bookings with an id below `before`. A background call does not change the trace id shown. */
export function bookings({ limit, before, background = false }) {
  const query = new URLSearchParams({ limit });
  if (before !== undefined) query.set("before", before);
  return call("GET", `/bookings?${query}`, { token: true, background });
}

async function call(method, path, { body, type, token, signal, background }) {
  const ended = session.signal();
  const headers = { accept: "application/json" };
  if (type) headers["content-type"] = type;
  if (token) headers.authorization = `Bearer ${session.current()?.token ?? ""}`;

  const signals = [ended, AbortSignal.timeout(DEADLINE_MS), ...(signal ? [signal] : [])];
  try {
    const response = await fetch((await base()) + path, { method, headers, body, signal: AbortSignal.any(signals) });
    if (!background) showTrace(`${method} ${path.split("?")[0]}`, response);
    if (response.ok) return await response.json();
    throw await failureOf(response);
  } catch (error) {
    if (ended.aborted) throw new Failure("session_ended");
    if (signal?.aborted) throw new Failure("superseded");
    const failure = error instanceof Failure ? error : new Failure(networkErrorCode(error));
    if (token && failure.status === 401) {
      session.end("refused");
      throw new Failure("session_ended");
    }
    throw failure;
  }
}

async function failureOf(response) {
  let code;
  try {
    code = (await response.json()).code;
  } catch {
    // The body is not a problem document: only the status is known.
  }
  return new Failure(typeof code === "string" ? code : `status_${response.status}`, response.status);
}

function networkErrorCode(error) {
  if (error.name === "TimeoutError") return "timeout";
  if (error instanceof SyntaxError) return "internal";
  return navigator.onLine ? "unreachable" : "offline";
}

let baseUrl;

// The API is on the same host as the page; the server names its port in /config.json.
function base() {
  baseUrl ??= fetch("/config.json", { signal: AbortSignal.timeout(DEADLINE_MS) })
    .then((response) => response.json())
    .then(({ api_port }) => `${location.protocol}//${location.hostname}:${api_port}`)
    .catch((error) => {
      baseUrl = undefined;
      throw error;
    });
  return baseUrl;
}
