// The log-in form.

import * as api from "/api.js";
import { once } from "/dom.js";
import * as session from "/session.js";
import { messageFor } from "/messages.js";

const form = document.getElementById("login-form");
const username = document.getElementById("username");
const password = document.getElementById("password");
const problem = document.getElementById("login-problem");

/** Clears the password and shows the reason for the log-in, if any. */
export function openLogIn(reason = "") {
  password.value = "";
  showProblem(reason);
  username.focus();
}

/** Calls `loggedIn` after each successful log-in. */
export function onLogIn(loggedIn) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    once(event.submitter ?? form.querySelector("button"), () => logIn(loggedIn));
  });
}

async function logIn(loggedIn) {
  const name = username.value.trim();
  showProblem(name ? "" : "Enter your user name.");
  if (!name) return username.focus();
  try {
    session.begin(name, await api.logIn(name, password.value));
  } catch (failure) {
    showProblem(messageFor(failure), failure.code === "invalid_credentials");
    password.focus();
    password.select();
    return;
  }
  password.value = "";
  loggedIn();
}

function showProblem(text, isAboutInput = false) {
  problem.textContent = text;
  for (const input of [username, password]) {
    if (isAboutInput) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  }
}
