// The list of the student's bookings, newest first, with the state of each notification.

import * as api from "/api.js";
import { element, once, replaceNotice, showNotice } from "/dom.js";
import * as session from "/session.js";
import { isSilent, messageFor } from "/messages.js";

const PAGE_SIZE = 20;
// Delay before each check for the notification of a new booking: 12 checks in about 15 s.
const CHECK_DELAYS_MS = [50, 100, 200, 300, 500, 800, 1200, 1800, 2500, 2500, 2500, 2500];

const list = document.getElementById("bookings");
const summary = document.getElementById("bookings-summary");
const older = document.getElementById("older");
const refreshButton = document.getElementById("refresh");

const bookingsById = new Map();
const pending = new Set();

/** Installs the handlers of the buttons. */
export function startBookings() {
  refreshButton.addEventListener("click", () => once(refreshButton, () => refresh()));
  older.addEventListener("click", () => once(older, showOlder));
}

/** Fetches the bookings of the logged-in student. */
export function openBookings() {
  summary.textContent = "Loading…";
  refresh({ background: true });
}

/** Removes all data of the session that ended. */
export function closeBookings() {
  bookingsById.clear();
  pending.clear();
  draw();
  older.hidden = true;
}

/** Fetches the newest page and replaces the list with it. */
export async function refresh({ background = false } = {}) {
  try {
    const { bookings } = await api.bookings({ limit: PAGE_SIZE, background });
    bookingsById.clear();
    add(bookings);
    older.hidden = bookings.length < PAGE_SIZE;
  } catch (failure) {
    if (isSilent(failure)) return;
    if (bookingsById.size === 0) summary.textContent = "Your bookings could not be loaded.";
    if (!background) showNotice(messageFor(failure), true);
  }
}

/** Reports a new booking, adds it to the list and checks for its notification for about 15 s. */
export async function showBooked(id, tutorName) {
  const ended = session.signal();
  pending.add(id);
  const notice = `You booked ${tutorName}. Booking number ${id}.`;
  showNotice(notice);
  let booking;
  for (const wait of CHECK_DELAYS_MS) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    if (ended.aborted) return;
    booking = await fetchBooking(id);
    if (booking?.notified_at) break;
  }
  pending.delete(id);
  if (ended.aborted) return;
  draw();
  if (booking?.notified_at) replaceNotice(notice, `${notice} You and your tutor have been notified.`);
}

// A page of one booking before `id + 1` is the booking `id`.
async function fetchBooking(id) {
  try {
    const { bookings } = await api.bookings({ limit: 1, before: id + 1, background: true });
    add(bookings);
    return bookingsById.get(id);
  } catch {
    return undefined;
  }
}

async function showOlder() {
  try {
    const { bookings } = await api.bookings({ limit: PAGE_SIZE, before: Math.min(...bookingsById.keys()) });
    add(bookings);
    older.hidden = bookings.length < PAGE_SIZE;
  } catch (failure) {
    if (!isSilent(failure)) showNotice(messageFor(failure), true);
  }
}

function add(bookings) {
  for (const booking of bookings) bookingsById.set(Number(booking.booking_id), booking);
  draw();
}

function draw() {
  const newestFirst = [...bookingsById.entries()].sort(([a], [b]) => b - a);
  list.replaceChildren(...newestFirst.map(([id, booking]) => row(id, booking)));
  summary.textContent = bookingsById.size === 0 ? "No bookings yet." : "";
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
  return pending.has(id) ? element("span", "tag wait", "Notifying…") : element("span", "tag wait", "Not notified yet");
}

function duration(ms) {
  if (ms < 1000) return `${Math.max(0, ms)} ms`;
  return ms < 90_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 60_000)} min`;
}
