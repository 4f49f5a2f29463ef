// The model beside the page, so that the page never stands still while it computes.
// Every message { id, action, … } is answered by { id, … } or { id, error }.

let ort;
const sessions = {};

const actions = {
  // ONNX Runtime: its JavaScript, which becomes a module here, and its WebAssembly.
  async start({ library, wasm }) {
    ort = await import(URL.createObjectURL(new Blob([library], { type: "text/javascript" })));
    ort.env.logLevel = "error";
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmBinary = wasm;
    return {};
  },

  async load({ name, content }) {
    sessions[name] = await ort.InferenceSession.create(
      new Uint8Array(content), { executionProviders: ["wasm"] });
    return {};
  },

  async run({ name, pixels, keep, restore }) {
    const start = performance.now(), length = restore.length;
    const { prediction } = await sessions[name].run({
      pixels: new ort.Tensor("float32", pixels, [length, pixels.length / length]),
      ids_keep: new ort.Tensor("int32", keep, [keep.length]),
      ids_restore: new ort.Tensor("int32", restore, [length]),
    });
    return { prediction: prediction.data, milliseconds: performance.now() - start };
  },
};

self.onmessage = async ({ data }) => {
  try {
    self.postMessage({ id: data.id, ...await actions[data.action](data) });
  } catch (error) {
    self.postMessage({ id: data.id, error: String(error.message || error) });
  }
};
