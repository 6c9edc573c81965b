// Copying. Browsers offer the clipboard to pages by https and of this computer only: others use the older command.

/** Show on the button that it is done. */
function confirm(button) {
  const text = button.textContent;
  button.textContent = button.dataset.done;
  setTimeout(() => { button.textContent = text; }, 1500);
}

export async function copyText(text, button) {
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else {
    const field = document.createElement("textarea");
    field.value = text;
    button.after(field); // within an open dialog, which makes the rest inert
    field.select();
    document.execCommand("copy");
    field.remove();
    button.focus();
  }
  confirm(button);
}

export const canCopyImages = Boolean(navigator.clipboard?.write);

/** Copy a PNG: the clipboard takes no other format. */
export async function copyImage(address, button) {
  const blob = fetch(address).then((response) => response.blob());
  await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
  confirm(button);
}
