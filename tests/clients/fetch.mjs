// Node's own fetch: a Blob in a form, and a Buffer as the body.
import { readFile } from "node:fs/promises";

const [url, three, five] = process.argv.slice(2);
const [image, other] = await Promise.all([three, five].map((name) => readFile(name)));

async function show(body, headers) {
  const answer = await fetch(`${url}/predict`, { method: "POST", body, headers });
  if (!answer.ok) throw new Error(await answer.text());
  console.log((await answer.json()).predictions.map(({ label }) => label).join(" "));
}

function form(...images) {
  const fields = new FormData();
  for (const each of images) fields.append("file", new Blob([each]), "digit.png");
  return fields;
}

await show(form(image));
await show(image);
await show(JSON.stringify({ image: image.toString("base64") }));
await show(form(image, other));
