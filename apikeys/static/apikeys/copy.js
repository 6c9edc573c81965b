"use strict";
// A button copies the field whose id is in its data-copy.
for (const button of document.querySelectorAll("[data-copy]")) {
  const field = document.getElementById(button.dataset.copy);
  field.addEventListener("focus", () => field.select());
  button.addEventListener("click", async () => {
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
      button.textContent = "Copied";
    } catch {
      // Without TLS, browsers give scripts no clipboard except on localhost; execCommand still works.
      button.textContent = document.execCommand("copy") ? "Copied" : "Press Ctrl+C";
    }
  });
}
