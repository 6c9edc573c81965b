"use strict";

// Replaces the parts of the page that have changed. Scroll positions stay, and the focused link stays focused.
(() => {
  const page = document.getElementById("status");
  const pause = document.getElementById("pause");
  const error = document.getElementById("refresh-error");
  let isPaused = false;

  function replaceChildren(old, fresh) {
    if (old.innerHTML === fresh.innerHTML) return;
    const focused = old.contains(document.activeElement) && document.activeElement.getAttribute("href");
    old.innerHTML = fresh.innerHTML;
    if (focused) old.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  async function refresh() {
    if (isPaused || document.hidden) return;
    try {
      const response = await fetch(location.href, { headers: { Accept: "text/html" } });
      const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
      const parts = fresh.querySelectorAll("#status > *");
      if (!response.ok || parts.length !== page.children.length) throw new Error(response.statusText);
      parts.forEach((part, index) => replaceChildren(page.children[index], part));
      replaceChildren(document.getElementById("as-of"), fresh.getElementById("as-of"));
      error.textContent = "";
    } catch {
      error.textContent = "The last refresh failed.";
    }
  }

  pause.hidden = false;
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? "Resume" : "Pause";
    refresh();
  });
  (async () => {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, page.dataset.refresh * 1000));
      await refresh();
    }
  })();
})();
