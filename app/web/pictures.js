// Pictures as they are sent: drawings, files and examples, each with its name, type and bytes.

const SHOWN_SIDE = 560; // pixels of the longest side that is kept to be shown again
const THUMB_SIDE = 112;

/** Bytes of a data URL in base64. */
export function bytesOf(dataUrl) {
  return Uint8Array.from(atob(dataUrl.slice(dataUrl.indexOf(",") + 1)), (letter) => letter.charCodeAt(0));
}

/** What is sent for a picture that is there as a data URL. */
export function inputOf(name, dataUrl) {
  const type = dataUrl.slice(5, dataUrl.indexOf(";"));
  return { name, type, dataUrl, body: bytesOf(dataUrl) };
}

/** What is sent for a file, and what can be shown of it: `image` is null where the browser can't. */
export async function openFile(file) {
  const name = file.name || "pasted.png";
  const type = file.type || "application/octet-stream";
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    return { input: { name, type, body: file }, picture: null, isReadable: false };
  }
  const picture = { name, ...(await shownOf(file)) };
  return { input: { name, type, body: file }, picture, isReadable: true };
}

async function shownOf(file) {
  try {
    const image = await createImageBitmap(file);
    return { image, width: image.width, height: image.height };
  } catch {
    return { image: null, width: 1, height: 1 };
  }
}

/** A picture that was kept as a data URL, `width` and `height` as they were when it was read. */
export async function openKept({ name, shown, width, height }) {
  if (!shown) return { name, image: null, width: 1, height: 1 };
  const image = new Image();
  image.src = shown;
  await image.decode();
  return { name, image, width, height };
}

/** A small data URL of a picture, to be kept. */
export function shrunk({ image, width, height }, side = SHOWN_SIDE) {
  if (!image) return null;
  const scale = Math.min(1, side / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // JPEG knows no transparency
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.85);
}

export const thumbnail = (picture) => shrunk(picture, THUMB_SIDE);
