// Who is logged in. The token lives in sessionStorage: one tab, gone when the tab closes.

const KEY = "session";

let leaving = new AbortController();

/** `{ token, username, studentId }`, or null when nobody is logged in. */
export function current() {
  try {
    const session = JSON.parse(sessionStorage.getItem(KEY));
    return session?.token ? session : null;
  } catch {
    return null;
  }
}

/** Aborts when the session ends, so that no reply reaches a page that has been left. */
export function signal() {
  return leaving.signal;
}

/** Keeps what `POST /token` replied. */
export function begin(username, reply) {
  const token = reply.access_token;
  const studentId = Number(reply.student_id ?? claims(token).student_id);
  sessionStorage.setItem(KEY, JSON.stringify({ token, username, studentId }));
}

/** Forgets the session and says so: `reason` is "left" or "refused". */
export function end(reason) {
  sessionStorage.removeItem(KEY);
  leaving.abort();
  leaving = new AbortController();
  document.dispatchEvent(new CustomEvent("session-ended", { detail: reason }));
}

// Read, not verified: the gateway verifies the token on every request.
function claims(token) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (char) => char.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return {};
  }
}
