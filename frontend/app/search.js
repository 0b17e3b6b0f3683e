// Search for tutors by subject, and booking of a tutor.

import * as api from "/api.js";
import { showBooked, refresh } from "/bookings.js";
import { element, once, showNotice } from "/dom.js";
import * as session from "/session.js";
import { isOutcomeUnknown, isSilent, messageFor } from "/messages.js";

const subject = document.getElementById("subject");
const summary = document.getElementById("search-summary");
const list = document.getElementById("tutors");
const suggestions = document.getElementById("subjects");
const offered = document.getElementById("offered");

let latest = new AbortController();

/** Installs the handler of the form. */
export function startSearch() {
  document.getElementById("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    search(subject.value.trim());
  });
}

/** Moves the focus to the search field and offers the subjects that are taught. */
export function openSearch() {
  subject.focus();
  offer();
}

/** Removes all data of the session that ended. */
export function closeSearch() {
  subject.value = "";
  suggestions.replaceChildren();
  offered.replaceChildren();
  offered.hidden = false;
  show([], []);
}

async function search(wanted) {
  latest.abort();
  latest = new AbortController();
  showNotice("");
  show(["Searching…"], []);
  const started = performance.now();
  try {
    const { cached, data } = await api.search(wanted, latest.signal);
    const took = `${Math.round(performance.now() - started)} ms`;
    const origin = element("span", cached ? "tag good" : "tag", cached ? "from the cache" : "from the database");
    origin.id = "search-origin";
    show([count(data.length, data[0]?.subject ?? wanted), origin, took], data.map(row));
    offered.hidden = data.length > 0;
  } catch (failure) {
    if (isSilent(failure)) return;
    show([], []);
    showNotice(messageFor(failure), true);
  }
}

function show(parts, rows) {
  summary.replaceChildren(...parts.map((part) => (typeof part === "string" ? element("span", "", part) : part)));
  list.replaceChildren(...rows);
}

function count(tutors, wanted) {
  if (tutors === 0) return `No tutors found for “${wanted}”. Choose one of the subjects below.`;
  return tutors === 1 ? `One tutor for ${wanted}` : `${tutors} tutors for ${wanted}`;
}

function row(tutor) {
  const rating = element("span", "rating", Number(tutor.rating).toFixed(1), element("span", "visually-hidden", " of 5"));
  const button = element("button", "", "Book", element("span", "visually-hidden", ` ${tutor.name}`));
  button.type = "button";
  button.addEventListener("click", () => once(button, () => book(tutor)));
  const main = element("span", "main", element("span", "name", tutor.name), element("span", "detail", tutor.subject));
  return element("li", "", main, rating, button);
}

async function book(tutor) {
  showNotice(`Booking ${tutor.name}…`);
  try {
    const { booking_id } = await api.book(session.current()?.studentId, tutor.id);
    showBooked(Number(booking_id), tutor.name);
  } catch (failure) {
    if (isSilent(failure)) return;
    if (!isOutcomeUnknown(failure)) {
      showNotice(messageFor(failure), true);
      return;
    }
    showNotice(`${messageFor(failure)} Check “My bookings” first: the booking may have been made.`, true);
    refresh({ background: true });
  }
}

// Suggests the subjects in the field, and offers them as buttons until a search finds tutors.
async function offer() {
  try {
    const { subjects } = await api.subjects();
    suggestions.replaceChildren(...subjects.map(({ subject: name }) => new Option(name)));
    offered.replaceChildren(...subjects.map(choice));
  } catch {
    // The field works without suggestions; a search reports the failure.
  }
}

function choice({ subject: name, tutors }) {
  const button = element("button", "quiet", name, element("span", "visually-hidden", tutors === 1 ? ", one tutor" : `, ${tutors} tutors`));
  button.type = "button";
  button.addEventListener("click", () => {
    subject.value = name;
    search(name);
  });
  return element("li", "", button);
}
