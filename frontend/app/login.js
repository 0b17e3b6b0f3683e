// The log-in form.

import * as api from "/api.js";
import { once } from "/dom.js";
import * as session from "/session.js";
import { inWords } from "/words.js";

const form = document.getElementById("login-form");
const username = document.getElementById("username");
const password = document.getElementById("password");
const problem = document.getElementById("login-problem");

/** Empties the form for the next person and says why they see it, if there is a reason. */
export function askToLogIn(reason = "") {
  password.value = "";
  complain(reason);
  username.focus();
}

/** Calls `entered` after each good log-in. */
export function onLogIn(entered) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    once(event.submitter ?? form.querySelector("button"), () => logIn(entered));
  });
}

async function logIn(entered) {
  const name = username.value.trim();
  complain(name ? "" : "Please type your user name.");
  if (!name) return username.focus();
  try {
    session.begin(name, await api.logIn(name, password.value));
  } catch (failure) {
    complain(inWords(failure), failure.code === "invalid_credentials");
    password.focus();
    password.select();
    return;
  }
  password.value = "";
  entered();
}

function complain(text, isAboutInput = false) {
  problem.textContent = text;
  for (const input of [username, password]) {
    if (isAboutInput) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  }
}
