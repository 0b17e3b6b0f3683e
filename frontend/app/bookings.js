// My bookings, newest first, and whether the notification of each has been sent.

import * as api from "/api.js";
import { element, once, retell, tell } from "/dom.js";
import * as session from "/session.js";
import { inWords, isSilent } from "/words.js";

const PAGE = 20;
// How long to wait before each look for a new booking's notification: twelve looks, some fifteen seconds.
const LOOKS_MS = [50, 100, 200, 300, 500, 800, 1200, 1800, 2500, 2500, 2500, 2500];

const list = document.getElementById("bookings");
const summary = document.getElementById("bookings-summary");
const older = document.getElementById("older");
const refreshButton = document.getElementById("refresh");

const known = new Map();
const watched = new Set();

/** Starts the buttons of the list. */
export function startBookings() {
  refreshButton.addEventListener("click", () => once(refreshButton, () => refresh()));
  older.addEventListener("click", () => once(older, showOlder));
}

/** Fetches the bookings of whoever has logged in. */
export function openBookings() {
  summary.textContent = "Loading…";
  refresh({ background: true });
}

/** Leaves nothing of this person for the next one. */
export function closeBookings() {
  known.clear();
  watched.clear();
  draw();
  older.hidden = true;
}

/** Fetches the newest page again, and shows no other. */
export async function refresh({ background = false } = {}) {
  try {
    const { bookings } = await api.bookings({ limit: PAGE, background });
    known.clear();
    keep(bookings);
    older.hidden = bookings.length < PAGE;
  } catch (failure) {
    if (isSilent(failure)) return;
    if (known.size === 0) summary.textContent = "Your bookings could not be loaded.";
    if (!background) tell(inWords(failure), true);
  }
}

/** Tells the person that the booking is made, shows it, and looks for its notification for a while. */
export async function showBooked(id, tutorName) {
  const left = session.signal();
  watched.add(id);
  const said = `You booked ${tutorName}. Booking number ${id}.`;
  tell(said);
  let booking;
  for (const wait of LOOKS_MS) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    if (left.aborted) return;
    booking = await look(id);
    if (booking?.notified_at) break;
  }
  watched.delete(id);
  if (left.aborted) return;
  draw();
  if (booking?.notified_at) retell(said, `${said} You and your tutor have been notified.`);
}

// Pages end before an id, so the page of one before the next id is the booking itself, however many came after it.
async function look(id) {
  try {
    const { bookings } = await api.bookings({ limit: 1, before: id + 1, background: true });
    keep(bookings);
    return known.get(id);
  } catch {
    return undefined;
  }
}

async function showOlder() {
  try {
    const { bookings } = await api.bookings({ limit: PAGE, before: Math.min(...known.keys()) });
    keep(bookings);
    older.hidden = bookings.length < PAGE;
  } catch (failure) {
    if (!isSilent(failure)) tell(inWords(failure), true);
  }
}

function keep(bookings) {
  for (const booking of bookings) known.set(Number(booking.booking_id), booking);
  draw();
}

function draw() {
  const newestFirst = [...known.entries()].sort(([a], [b]) => b - a);
  list.replaceChildren(...newestFirst.map(([id, booking]) => row(id, booking)));
  summary.textContent = known.size === 0 ? "Nothing booked yet." : "";
}

function row(id, booking) {
  const made = new Date(booking.created_at);
  const detail = `No. ${id} · ${made.toLocaleString([], { dateStyle: "medium", timeStyle: "short" })}`;
  const name = element("span", "name", booking.tutor_name ?? `Tutor ${booking.tutor_id}`);
  const item = element("li", "", element("span", "main", name, element("span", "detail", detail)), notification(id, booking, made));
  item.dataset.bookingId = id;
  return item;
}

function notification(id, booking, made) {
  if (booking.notified_at) {
    return element("span", "tag good", `Notified after ${duration(new Date(booking.notified_at) - made)}`);
  }
  return watched.has(id) ? element("span", "tag wait", "Notifying…") : element("span", "tag wait", "Not notified yet");
}

function duration(ms) {
  if (ms < 1000) return `${Math.max(0, ms)} ms`;
  return ms < 90_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 60_000)} min`;
}
