// onnxruntime-web, for the widgets that run a network in the page: its files, and how much of them has come.

const RUNTIME_MODULE = "ort.wasm.bundle.min.mjs";
const RUNTIME_BINARY = "ort-wasm-simd-threaded.wasm";

/** What the book's site brings: the folder, undefined elsewhere, and how many bytes the reader waits for. */
function siteRuntime() {
  const { ort, ortBytes } = document.documentElement.dataset;
  return { folder: ort, bytes: Number(ortBytes ?? 0) };
}

const fileOf = (name, folder) => new URL(name, folder).href;

const megabytes = (bytes) => rounded(bytes / 1e6, 0);

/** The bytes of a file; `tell` hears how many have come. */
async function download(url, tell) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${response.status} for ${url}`);
  const [reader, chunks] = [response.body.getReader(), []];
  for (let bytes = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(await new Blob(chunks).arrayBuffer());
    chunks.push(value);
    bytes += value.length;
    tell(bytes);
  }
}
