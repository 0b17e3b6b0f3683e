// Builds elements of the page. All strings become text nodes, never markup.

/** Returns an element with a class and children; strings become text nodes. */
export function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** Runs `work` unless it already runs. The button stays focusable but has no effect meanwhile. */
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

/** Shows `text` at the bottom of the page and announces it to screen readers, until the next notice replaces it. */
export function showNotice(text, isBad = false) {
  notice.classList.toggle("bad", isBad);
  notice.textContent = text;
}

/** Replaces the notice `old` with `text`, unless another notice has replaced it already. */
export function replaceNotice(old, text) {
  if (notice.textContent === old) showNotice(text);
}
