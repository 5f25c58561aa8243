// What the pages cannot do without a script: say that they wait, copy a key, and rest while
// nobody looks. Everything else works without it.
"use strict";

// A form that was sent is not sent twice; its button says that it is being worked on.
document.addEventListener("submit", (event) => {
  const button = event.submitter ?? event.target.querySelector("button");
  if (event.target.dataset.sent) {
    event.preventDefault();
    return;
  }
  event.target.dataset.sent = "yes";
  button?.setAttribute("aria-busy", "true");
});

// Back from the next page, forms are as they were.
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    form.querySelector("[aria-busy]")?.removeAttribute("aria-busy");
  }
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent.trim());
    button.textContent = button.dataset.copied;
  } catch {
    // Not allowed here: the text is selected instead.
    getSelection().selectAllChildren(source);
  }
});

// What renews itself rests in a tab that nobody looks at.
document.addEventListener("htmx:before:request", (event) => {
  if (document.hidden) event.preventDefault();
});
