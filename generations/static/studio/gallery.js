// New images appear in the gallery.
document.addEventListener("studio:generation", ({ detail }) => {
  if (detail.completed_at) htmx.trigger("#gallery", "refresh");
});
