// Messages for failed calls, for the user of the page.

const RELOAD = "This page does not match the version of the service. Please reload the page.";
const BUSY = "The service is busy. Please try again in a few seconds.";
const BROKEN = "Something went wrong. Please try again later.";

const MESSAGES = {
  invalid_credentials: "Incorrect user name or password.",
  missing_subject: "Enter a subject.",
  invalid_subject: "This is not a valid subject. Please check the spelling.",
  forbidden_student: "You can only book for yourself. Please log in again.",
  student_not_found: "Your student account no longer exists. Please contact support.",
  tutor_not_found: "This tutor is no longer available. Please search again.",
  body_too_large: "The input is too long. Please shorten it.",
  malformed_request: RELOAD,
  invalid_request: RELOAD,
  not_found: RELOAD,
  method_not_allowed: RELOAD,
  unsupported_media_type: RELOAD,
  request_timeout: "The request did not arrive in time. Please check your connection and try again.",
  status_408: "The request did not arrive in time. Please check your connection and try again.",
  invalid_slot: "The tutor does not teach at this time. Please choose another.",
  slot_taken: "This slot has just been taken. Please choose another.",
  no_free_slot: "You and this tutor have no free time in common in the next eight weeks.",
  already_cancelled: "This booking was cancelled before.",
  invalid_key: RELOAD,
  key_in_flight: BUSY,
  key_reused: RELOAD,
  queue_full: BUSY,
  unavailable: BUSY,
  bad_gateway: BUSY,
  status_429: "Too many requests. Please wait a moment and try again.",
  status_502: BUSY,
  status_503: BUSY,
  timeout: "The service did not answer in time. Please try again.",
  status_504: "The service did not answer in time. Please try again.",
  unreachable: "The service cannot be reached. Please check your connection and try again.",
  offline: "You are offline. Please check your connection and try again.",
  internal: BROKEN,
};

// Codes after which it is unknown whether the booking was made.
const OUTCOME_UNKNOWN = new Set(["queue_full", "unavailable", "bad_gateway", "timeout", "unreachable", "internal"]);

/** Returns whether the failure needs no message: the user started another search or was asked to log in again. */
export function isSilent(failure) {
  return failure.code === "superseded" || failure.code === "session_ended";
}

/** Returns whether the booking may have been made despite the failure. */
export function isOutcomeUnknown(failure) {
  return OUTCOME_UNKNOWN.has(failure.code) || failure.status >= 500;
}

/** Returns the message for a failure, one or two sentences. */
export function messageFor(failure) {
  return MESSAGES[failure.code] ?? (failure.status >= 400 && failure.status < 500 ? RELOAD : BROKEN);
}
