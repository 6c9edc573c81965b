// Images go to the bin and back.
import { post, show } from "./calls.js";
import { isBin, reload, remove } from "./gallery.js";

const { delete: deleteAddress, restore: restoreAddress } = document.getElementById("selection").dataset;

/** Move images to the bin, or restore them if the bin is shown, and offer to undo that. Returns whether it was done. */
export async function move(ids) {
  const [there, back] = isBin() ? [restoreAddress, deleteAddress] : [deleteAddress, restoreAddress];
  const answer = await post(there, { ids });
  if (!answer) return false;
  remove(ids);
  show(answer.message, async () => {
    if (await post(back, { ids })) reload();
  });
  return true;
}
