// The model: fetched once for the whole page, run in a worker.

// A file of the site; in the page that holds everything, what it holds.
function address(file) {
  const inside = document.getElementById(file);
  if (inside) return `data:application/octet-stream;base64,${inside.textContent.trim()}`;
  return `${document.documentElement.dataset.up}live/${file}`;
}

class Model {
  constructor() {
    const script = new Blob([LIVE.worker], { type: "text/javascript" });
    this.worker = new Worker(URL.createObjectURL(script));
    this.waiting = new Map();
    this.packs = new Map();
    this.worker.onmessage = ({ data }) => {
      const { resolve, reject } = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.error) reject(new Error(data.error));
      else resolve(data);
    };
    this.worker.onerror = (event) => {
      for (const { reject } of this.waiting.values()) reject(new Error(event.message));
    };
  }

  ask(action, message) {
    return new Promise((resolve, reject) => {
      const id = this.next = (this.next || 0) + 1;
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, action, ...message });
    });
  }

  // The parts of one file, {name: bytes}; `progress` gets the share that has arrived.
  async fetch(pack, progress) {
    const response = await fetch(address(pack.file));
    if (!response.ok) throw new Error(`${pack.file} could not be fetched (${response.status})`);
    let arrived = 0;
    const count = new TransformStream({
      transform(chunk, controller) {
        arrived += chunk.length;
        progress(Math.min(1, arrived / pack.bytes));
        controller.enqueue(chunk);
      },
    });
    const unzipped = response.body.pipeThrough(count).pipeThrough(new DecompressionStream("gzip"));
    const content = await new Response(unzipped).arrayBuffer(), parts = {};
    let start = 0;
    for (const [name, length] of pack.parts) parts[name] = content.slice(start, start += length);
    return parts;
  }

  // Runtime, photographs and the first weights.
  async start(progress) {
    const first = LIVE.packs[0], parts = await this.fetch(first, progress);
    this.photographs = new Uint8Array(parts.photographs);
    await this.ask("start", { library: parts.library, wasm: parts.runtime });
    const loading = this.ask("load", { name: first.weights, content: parts.weights });
    this.packs.set(first.weights, loading);
    await loading;
  }

  // The bytes (size, size, 3) of one.
  photograph(i) {
    const length = this.photographs.length / LIVE.photographs.length;
    return this.photographs.subarray(i * length, (i + 1) * length);
  }

  // Fetches weights when they are asked for the first time.
  load(name, progress) {
    if (!this.packs.has(name)) {
      const pack = LIVE.packs.find(({ weights }) => weights === name);
      const loading = this.fetch(pack, progress).then(
        (parts) => this.ask("load", { name, content: parts.weights }));
      loading.catch(() => this.packs.delete(name));  // so that it can be tried again
      this.packs.set(name, loading);
    }
    return this.packs.get(name);
  }

  run(name, pixels, { keep, restore }) {
    return this.ask("run", { name, pixels, keep, restore });
  }
}
