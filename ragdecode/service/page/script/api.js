// What the page asks of the service. Addresses are relative, so that it works behind a path of a proxy, too.
import { serverEvents } from "./events.js";

const KEY = "ragdecode-key";
let key = "";
try {
  key = sessionStorage.getItem(KEY) || "";
} catch {
  // kept in memory only
}
let keyWanted = () => {};

/** What to do when the service wants a key. */
export function onKeyWanted(action) {
  keyWanted = action;
}
export function useKey(value) {
  key = value;
  try {
    sessionStorage.setItem(KEY, value);
  } catch {
    // kept in memory only
  }
}

/** Something the service refused or could not do: title, detail and hint for people. */
export class Problem extends Error {
  constructor({ title, detail, hint, status }) {
    super(detail || title);
    Object.assign(this, { title, detail, hint, status });
  }
}

const headers = (more = {}) => (key ? { ...more, Authorization: `Bearer ${key}` } : more);

function problemOf(status, text, after) {
  let told = {};
  try {
    told = JSON.parse(text);
    told = typeof told.error === "object" && told.error ? { detail: told.error.message } : told;
  } catch {
    told = {};
  }
  if (status === 401) keyWanted();
  const detail = typeof told.detail === "string" ? told.detail : `The service answered with status ${status}.`;
  const hint = told.hint || (after ? `Try again in ${after} s.` : "");
  return new Problem({ title: told.title || "The service said no", detail, hint, status });
}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers(options.headers), credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: "The service cannot be reached", detail: "It is not running, or the network is gone.", status: 0 });
  }
  if (!response.ok) throw problemOf(response.status, await response.text(), response.headers.get("Retry-After"));
  return response;
}

/** The pipelines that can be asked. */
export async function pipelines() {
  const found = await (await call("v1/pipelines")).json();
  return Array.isArray(found) ? found : found.pipelines || found.data || [];
}

/** The events of an answer; ends without `done` or `error` if the connection broke off. */
export async function* ask(body, signal) {
  const response = await call("v1/ask", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify({ ...body, stream: true }),
    signal,
  });
  yield* serverEvents(response.body);
}

const of = (pipeline) => `?pipeline=${encodeURIComponent(pipeline)}`;

export async function documents(pipeline) {
  const found = await (await call(`v1/documents${of(pipeline)}`)).json();
  return Array.isArray(found) ? found : found.documents;
}
export async function documentText(pipeline, id, signal) {
  return (await call(`v1/documents/${encodeURIComponent(id)}/text${of(pipeline)}`, { signal })).text();
}
export async function deleteDocument(pipeline, id) {
  await call(`v1/documents/${encodeURIComponent(id)}${of(pipeline)}`, { method: "DELETE" });
}

/** Send one file; `progress` is told the share that is sent, from 0 to 1. */
export function upload(pipeline, file, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("files", file, file.name);
    request.open("POST", `v1/documents${of(pipeline)}`);
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => event.lengthComputable && progress(event.loaded / event.total));
    request.addEventListener("load", () => {
      if (request.status >= 200 && request.status < 300) return resolve(JSON.parse(request.responseText || "{}"));
      reject(problemOf(request.status, request.responseText, request.getResponseHeader("Retry-After")));
    });
    const broken = () => reject(new Problem({ title: "The upload broke off", detail: `${file.name} was not taken.`, status: 0 }));
    request.addEventListener("error", broken);
    request.addEventListener("abort", broken);
    request.send(form);
  });
}
