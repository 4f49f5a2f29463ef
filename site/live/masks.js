// Which patches are hidden. The same seed hides the same patches as in the notebooks: see
// mae_lib/course/widgets/masks.py, whose functions these are.

// torch.rand on a CPU: a Mersenne Twister (Matsumoto & Nishimura 1998), of which 24 bits are used.
class Random {
  constructor(seed) {
    this.state = new Uint32Array(624);
    this.state[0] = seed;
    for (let i = 1; i < 624; i++) {
      const previous = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = Math.imul(1812433253, previous) + i;
    }
    this.at = 624;
  }

  twist() {
    const s = this.state;
    for (let i = 0; i < 624; i++) {
      const y = (s[i] & 0x80000000) | (s[(i + 1) % 624] & 0x7fffffff);
      s[i] = s[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.at = 0;
  }

  rand() {
    if (this.at === 624) this.twist();
    let y = this.state[this.at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    y ^= y >>> 18;
    return (y & 0xffffff) / 0x1000000;
  }
}

// Noise for every patch: the smallest values stay visible.
const NOISE = {
  random(side, seed) {
    const random = new Random(seed);
    return Array.from({ length: side * side }, () => random.rand());
  },

  // Rectangles are covered one after the other (Bao et al. 2022).
  block(side, seed) {
    const random = new Random(seed), length = side * side;
    const noise = new Array(length).fill(null);
    let covered = 0;
    while (covered < length) {
      const [share, shape, y, x] = Array.from({ length: 4 }, () => random.rand());
      const area = length * (0.08 + 0.17 * share);
      const clip = (n) => Math.min(side, Math.max(1, Math.round(n)));
      const height = clip(Math.sqrt(area * 3 ** (2 * shape - 1))), width = clip(area / height);
      const top = Math.trunc(y * (side - height + 1)), left = Math.trunc(x * (side - width + 1));
      for (let row = top; row < top + height; row++) {
        for (let column = left; column < left + width; column++) {
          const patch = row * side + column;
          if (noise[patch] === null) noise[patch] = -covered++;
        }
      }
    }
    return noise;
  },

  // What is visible is spread evenly: an order in which squares of four, sixteen, … fill.
  grid(side, seed) {
    const BAYER = [[0, 2], [3, 1]];
    const order = (y, x) => [1, 2, 4].reduce(
      (sum, bit) => 4 * sum + BAYER[y & bit ? 1 : 0][x & bit ? 1 : 0], 0);
    const rows = Math.floor(seed / 2), turned = (n, by) => (((n - by) % 8) + 8) % 8;
    return Array.from({ length: side * side }, (_, patch) => order(
      turned(Math.floor(patch / side), rows), turned(patch % side, seed)));
  },
};

// 1 = hidden. Patches in `flipped` are changed over; one always stays visible.
function makeMask(kind, side, ratio, seed, flipped = []) {
  const length = side * side, mask = new Uint8Array(length);
  if (kind !== "by hand") {
    const noise = NOISE[kind](side, seed), visible = Math.max(1, Math.trunc(length * (1 - ratio)));
    const order = [...noise.keys()].sort((a, b) => noise[a] - noise[b]);  // stable
    for (const patch of order.slice(visible)) mask[patch] = 1;
  }
  for (const patch of flipped) mask[patch] = 1 - mask[patch];
  if (mask.every(Boolean)) mask[[...flipped].pop()] = 0;
  return mask;
}

// The two lists that the model wants: visible patches come first when it shuffles.
function idsOf(mask) {
  const places = [...mask.keys()];
  const shuffle = [...places.filter((i) => !mask[i]), ...places.filter((i) => mask[i])];
  const restore = new Int32Array(mask.length);
  shuffle.forEach((place, i) => { restore[place] = i; });
  return { keep: Int32Array.from(shuffle.filter((i) => !mask[i])), restore };
}
