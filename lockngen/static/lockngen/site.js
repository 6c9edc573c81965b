// What assistive technology needs and the markup of Django's admin lacks.
addEventListener("load", () => {
  document.getElementById("searchbar")?.setAttribute("aria-label", "Search");
  for (const tooltip of document.querySelectorAll(".help-tooltip[aria-label]")) tooltip.setAttribute("role", "img");
});
