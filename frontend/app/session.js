// The log-in session. The token is kept in sessionStorage: for one tab, until the tab closes.

const KEY = "session";

let ended = new AbortController();

/** Returns `{ token, username, studentId }`, or null without a session. */
export function current() {
  try {
    const session = JSON.parse(sessionStorage.getItem(KEY));
    return session?.token ? session : null;
  } catch {
    return null;
  }
}

/** Returns a signal that aborts when the session ends, so that later replies are ignored. */
export function signal() {
  return ended.signal;
}

/** Stores the session that a reply of `POST /token` starts. */
export function begin(username, reply) {
  const token = reply.access_token;
  const studentId = Number(reply.student_id ?? claims(token).student_id);
  sessionStorage.setItem(KEY, JSON.stringify({ token, username, studentId }));
}

/** Removes the session and dispatches `session-ended` with the reason, "left" or "refused". */
export function end(reason) {
  sessionStorage.removeItem(KEY);
  ended.abort();
  ended = new AbortController();
  document.dispatchEvent(new CustomEvent("session-ended", { detail: reason }));
}

// Returns the claims of a token without verifying them: the gateway verifies every request.
function claims(token) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (char) => char.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return {};
  }
}
