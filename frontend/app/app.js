// Entry point of the student page: shows the log-in form, or search and bookings after log-in.

import { closeBookings, openBookings, startBookings } from "/bookings.js";
import { showNotice } from "/dom.js";
import { onLogIn, openLogIn } from "/login.js";
import { closeSearch, openSearch, startSearch } from "/search.js";
import * as session from "/session.js";

const END_MESSAGES = {
  refused: "Your session has ended. Please log in again.",
  left: "",
};

startSearch();
startBookings();
onLogIn(showHome);
document.getElementById("log-out").addEventListener("click", () => session.end("left"));
document.addEventListener("session-ended", ({ detail }) => showLogIn(END_MESSAGES[detail]));

if (session.current()) showHome();
else showLogIn("");

function showHome() {
  setLoggedIn(true);
  document.getElementById("who-name").textContent = session.current().username;
  showNotice("");
  openSearch();
  openBookings();
}

function showLogIn(reason) {
  setLoggedIn(false);
  closeSearch();
  closeBookings();
  showNotice("");
  openLogIn(reason);
}

function setLoggedIn(isLoggedIn) {
  document.getElementById("login").hidden = isLoggedIn;
  document.getElementById("home").hidden = !isLoggedIn;
  document.getElementById("who").hidden = !isLoggedIn;
}
