// The modules of the studio's page. A page loads one module by its address with a digest, and that imports the others by
// their plain addresses: one that is loaded by both would run twice.
import "./keys.js";
import "./forms.js";
import "./prompt.js";
import "./queue.js";
import "./gallery.js";
import "./selection.js";
import "./lightbox.js";
