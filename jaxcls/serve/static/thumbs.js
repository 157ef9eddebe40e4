// Small copies of pictures, for cards and the history; one is decoded at a time, since phones make large ones.

const SIDE = 320;
const SMALL = 64; // pixels, up to which a picture is shown with its pixels

let last = Promise.resolve();

/** {thumb: Blob or null, small} of a file; null where this browser can't show it (TIFF, HEIC). */
export function thumbnail(file) {
  const next = last.then(() => draw(file)).catch(() => ({ thumb: null, small: false }));
  last = next;
  return next;
}

async function draw(file) {
  const bitmap = await createImageBitmap(file);
  const large = Math.max(bitmap.width, bitmap.height);
  const scale = Math.min(1, SIDE / large);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const type = large <= SMALL || file.type === "image/png" ? "image/png" : "image/jpeg";
  const thumb = await new Promise((resolve) => canvas.toBlob(resolve, type, 0.85));
  return { thumb, small: large <= SMALL };
}
