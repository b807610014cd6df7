// axios, with form-data for the forms; it declares application/x-www-form-urlencoded for a Buffer.
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import axios from "axios";
import FormData from "form-data";

const [url, three, five] = process.argv.slice(2);
const image = await readFile(three);

async function show(body) {
  const { data } = await axios.post(`${url}/predict`, body, { proxy: false });
  console.log(data.predictions.map(({ label }) => label).join(" "));
}

function form(...names) {
  const fields = new FormData();
  for (const name of names) fields.append("file", createReadStream(name));
  return fields;
}

await show(form(three));
await show(image);
await show({ image: image.toString("base64") });
await show(form(three, five));
