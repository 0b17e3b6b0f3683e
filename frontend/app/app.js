// The students' page: shows the log-in form or, to whoever is logged in, search and bookings.

import { closeBookings, openBookings, startBookings } from "/bookings.js";
import { tell } from "/dom.js";
import { askToLogIn, onLogIn } from "/login.js";
import { closeSearch, openSearch, startSearch } from "/search.js";
import * as session from "/session.js";

const ASK = {
  refused: "Your session has ended. Please log in again.",
  left: "",
};

startSearch();
startBookings();
onLogIn(enter);
document.getElementById("log-out").addEventListener("click", () => session.end("left"));
document.addEventListener("session-ended", ({ detail }) => leave(ASK[detail]));

if (session.current()) enter();
else leave("");

function enter() {
  show(true);
  document.getElementById("who-name").textContent = session.current().username;
  tell("");
  openSearch();
  openBookings();
}

function leave(reason) {
  show(false);
  closeSearch();
  closeBookings();
  tell("");
  askToLogIn(reason);
}

function show(isLoggedIn) {
  document.getElementById("login").hidden = isLoggedIn;
  document.getElementById("home").hidden = !isLoggedIn;
  document.getElementById("who").hidden = !isLoggedIn;
}
