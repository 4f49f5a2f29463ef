// Pictures as the model reads them: (L, p·p·3) numbers from 0 to 1, patch after patch, each in
// the order row, column, channel.

// For each number of the patches, where it is in an ordinary picture (size, size, 3).
function patchOrder(size, patch) {
  const order = new Uint32Array(size * size * 3), side = size / patch;
  let i = 0;
  for (let n = 0; n < side * side; n++) {
    const top = Math.floor(n / side) * patch, left = (n % side) * patch;
    for (let y = top; y < top + patch; y++) {
      for (let x = left; x < left + patch; x++) {
        for (let c = 0; c < 3; c++) order[i++] = (y * size + x) * 3 + c;
      }
    }
  }
  return order;
}

// Calls `each` with the first and the last number, exclusive, of every patch that is hidden (1) or
// visible (0).
function forPatches(mask, hidden, values, each) {
  for (let n = 0; n < mask.length; n++) {
    if (mask[n] === hidden) each(n * values, (n + 1) * values);
  }
}

const clip = (value) => Math.min(1, Math.max(0, value));

// Decibels on hidden patches: see masked_psnr in mae_lib/metrics.py.
function maskedPsnr(found, target, mask) {
  let sum = 0, count = 0;
  forPatches(mask, 1, target.length / mask.length, (start, stop) => {
    for (let i = start; i < stop; i++) sum += (clip(found[i]) - target[i]) ** 2;
    count += stop - start;
  });
  return -10 * Math.log10(Math.max(1e-10, sum / Math.max(1, count)));
}

// Every patch in the mean colour of the visible ones, the reference to beat.
function meanColour(target, mask) {
  const sum = [0, 0, 0], filled = new Float32Array(target.length);
  let count = 0;
  forPatches(mask, 0, target.length / mask.length, (start, stop) => {
    for (let i = start; i < stop; i += 3) for (let c = 0; c < 3; c++) sum[c] += target[i + c];
    count += (stop - start) / 3;
  });
  const colour = sum.map((value) => value / Math.max(1, count));
  for (let i = 0; i < filled.length; i++) filled[i] = colour[i % 3];
  return filled;
}

// What the panels show, each as patches again.
const GREY = 0.5, ERROR_TOP = 0.4;
const VIEWS = {
  seen(target, _, mask) {
    const shown = target.slice();
    forPatches(mask, 1, target.length / mask.length, (...range) => shown.fill(GREY, ...range));
    return shown;
  },

  composite(target, found, mask) {
    const shown = target.slice();
    forPatches(mask, 1, target.length / mask.length,
      (...range) => shown.set(found.subarray(...range), range[0]));
    return shown;
  },

  prediction: (_, found) => found,

  // The mean over the channels, from black by orange to white.
  error(target, found, mask) {
    const shown = new Float32Array(target.length);
    forPatches(mask, 1, target.length / mask.length, (start, stop) => {
      for (let i = start; i < stop; i += 3) {
        let off = 0;
        for (let c = 0; c < 3; c++) off += Math.abs(clip(found[i + c]) - target[i + c]) / 3;
        shown.set([3, 1.5, 1].map((gain) => gain * off / ERROR_TOP), i);
      }
    });
    return shown;
  },
};

// Draws patches on a canvas of `size` pixels.
class Painter {
  constructor(size, patch) {
    this.order = patchOrder(size, patch);
    this.places = this.order.map((place) => Math.floor(place / 3) * 4 + (place % 3));
    this.image = new ImageData(size, size);
    this.image.data.fill(255);
    this.canvas = document.createElement("canvas");
    this.canvas.width = this.canvas.height = size;
  }

  paint(patches, canvas) {
    const { data } = this.image, { places } = this, context = canvas.getContext("2d");
    for (let i = 0; i < places.length; i++) data[places[i]] = 255 * patches[i];
    this.canvas.getContext("2d").putImageData(this.image, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.canvas, 0, 0, canvas.width, canvas.height);
  }

  // A picture's bytes as patches.
  patches(bytes) { return Float32Array.from(this.order, (place) => bytes[place] / 255); }
}

// A picture's centre as bytes (size, size, 3), on white; halved until it is near, so that no
// browser skips pixels.
function centreSquare(source, size) {
  let side = Math.min(source.width, source.height);
  let left = (source.width - side) / 2, top = (source.height - side) / 2, from = source, canvas;
  do {
    const next = side > 2 * size ? Math.ceil(side / 2) : size;
    canvas = document.createElement("canvas");
    canvas.width = canvas.height = next;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.fillStyle = "#fff";
    context.fillRect(0, 0, next, next);
    context.drawImage(from, left, top, side, side, 0, 0, next, next);
    [from, side, left, top] = [canvas, next, 0, 0];
  } while (side > size);
  const { data } = canvas.getContext("2d").getImageData(0, 0, size, size);
  return Uint8Array.from({ length: size * size * 3 },
    (_, i) => data[Math.floor(i / 3) * 4 + (i % 3)]);
}
