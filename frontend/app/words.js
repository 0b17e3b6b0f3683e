// What went wrong, in words for the person at the page.

const RELOAD = "This page and the service do not understand each other. Please reload the page.";
const BUSY = "The service is very busy at the moment. Please try again in a little while.";
const BROKEN = "Something went wrong on our side. Please try again in a little while.";

const WORDS = {
  invalid_credentials: "The user name or the password is not right. Please try again.",
  missing_subject: "Please type a subject first.",
  invalid_subject: "That cannot be a subject. Please check what you typed.",
  forbidden_student: "You can only book for yourself. Please log out and log in again.",
  student_not_found: "Your student account no longer exists. Please ask whoever runs this service.",
  tutor_not_found: "This tutor is no longer available. Search again to see who is.",
  body_too_large: "That is too long. Please shorten what you typed.",
  malformed_request: RELOAD,
  invalid_request: RELOAD,
  not_found: RELOAD,
  method_not_allowed: RELOAD,
  unsupported_media_type: RELOAD,
  queue_full: BUSY,
  unavailable: BUSY,
  status_429: "That was too much at once. Please wait a moment and try again.",
  status_502: BUSY,
  status_503: BUSY,
  timeout: "The service took too long to answer. Please try again.",
  status_504: "The service took too long to answer. Please try again.",
  unreachable: "The service cannot be reached. Please check your connection and try again.",
  offline: "You are offline. Please connect to the network and try again.",
  internal: BROKEN,
};

// After these nobody can tell from here whether the booking was written.
const UNSURE = new Set(["queue_full", "unavailable", "timeout", "unreachable", "internal"]);

/** Whether the person knows already: they moved on, or have been asked to log in again. */
export function isSilent(failure) {
  return failure.code === "superseded" || failure.code === "session_ended";
}

/** Whether the booking may have been made although no good answer came. */
export function isUnsure(failure) {
  return UNSURE.has(failure.code) || failure.status >= 500;
}

/** One or two sentences. */
export function inWords(failure) {
  return WORDS[failure.code] ?? (failure.status >= 400 && failure.status < 500 ? RELOAD : BROKEN);
}
