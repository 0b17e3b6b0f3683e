// Search a subject, see who teaches it, book one of them.

import * as api from "/api.js";
import { showBooked, refresh } from "/bookings.js";
import { element, once, tell } from "/dom.js";
import * as session from "/session.js";
import { inWords, isSilent, isUnsure } from "/words.js";

const subject = document.getElementById("subject");
const summary = document.getElementById("search-summary");
const list = document.getElementById("tutors");
const found = document.getElementById("subjects");

let latest = new AbortController();

/** Starts the search form. */
export function startSearch() {
  document.getElementById("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    search(subject.value.trim());
  });
}

/** The form, ready to type. */
export function openSearch() {
  subject.focus();
}

/** Leaves nothing of this person for the next one. */
export function closeSearch() {
  subject.value = "";
  found.replaceChildren();
  show([], []);
}

async function search(wanted) {
  latest.abort();
  latest = new AbortController();
  tell("");
  show(["Searching…"], []);
  const started = performance.now();
  try {
    const { cached, data } = await api.search(wanted, latest.signal);
    const took = `${Math.round(performance.now() - started)} ms`;
    const origin = element("span", cached ? "tag good" : "tag", cached ? "from the cache" : "from the database");
    origin.id = "search-origin";
    show([count(data.length, wanted), origin, took], data.map(row));
    if (data.length > 0) suggest(wanted);
  } catch (failure) {
    if (isSilent(failure)) return;
    show([], []);
    tell(inWords(failure), true);
  }
}

function show(words, rows) {
  summary.replaceChildren(...words.map((word) => (typeof word === "string" ? element("span", "", word) : word)));
  list.replaceChildren(...rows);
}

function count(tutors, wanted) {
  if (tutors === 0) return `No tutors found for “${wanted}”. Check the spelling or try another subject.`;
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
  tell(`Booking ${tutor.name}…`);
  try {
    const { booking_id } = await api.book(session.current()?.studentId, tutor.id);
    showBooked(Number(booking_id), tutor.name);
  } catch (failure) {
    if (isSilent(failure)) return;
    if (!isUnsure(failure)) {
      tell(inWords(failure), true);
      return;
    }
    tell(`${inWords(failure)} Before that, look at “My bookings”: this one may have been made.`, true);
    refresh({ background: true });
  }
}

// Offers what has been found before; which subjects there are, only the service knows.
function suggest(wanted) {
  if ([...found.children].some((option) => option.value === wanted)) return;
  const option = element("option");
  option.value = wanted;
  found.append(option);
}
