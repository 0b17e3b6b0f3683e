// Text from anywhere goes into the page as text, never as markup.

/** An element with a class, holding strings (as text) and elements. */
export function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** Runs `work` once at a time: the button keeps the focus but does nothing while it runs. */
export async function once(button, work) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  try {
    await work();
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

const notice = document.getElementById("notice");

/** Says something at the foot of the page and to screen readers; it stays until something else is said. */
export function tell(text, isBad = false) {
  notice.classList.toggle("bad", isBad);
  notice.textContent = text;
}

/** Says `text` in place of `said`, unless something else has been said since. */
export function retell(said, text) {
  if (notice.textContent === said) tell(text);
}
