// Forms whose response replaces the errors beside the fields, and nothing that may have been typed since.

// A field that shows many lines and takes one.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing || !event.target.matches("[data-enter]")) return;
  event.preventDefault();
  event.target.form.requestSubmit();
});

document.addEventListener("htmx:afterRequest", ({ detail: { elt: form, successful } }) => {
  if (!successful || form.tagName !== "FORM") return;
  const invalid = [...form.querySelectorAll("[aria-describedby$=-error]")].filter((field) => {
    const hasError = document.getElementById(field.getAttribute("aria-describedby")).textContent !== "";
    field.setAttribute("aria-invalid", hasError);
    return hasError;
  });
  for (const field of invalid) field.closest("details")?.setAttribute("open", "");
  if (invalid.length) invalid[0].focus();
  // The button was disabled, and has lost the focus.
  else if (document.activeElement === document.body) form.querySelector(".primary")?.focus({ preventScroll: true });
});
