// What the learner sees and moves. Its HTML is in explorer.html.

const WORDS = {
  composite: "What it reconstructs",
  prediction: "The prediction alone",
  error: `Error: black 0, white ${ERROR_TOP}`,
};
const PSNR_TOP = 30;  // dB, where the bars end
const SLOW = 25, REST = 100;  // ms: from when on it is worth computing ahead, and a hand's pause
const KEPT = 60;  // results, for moves back and forth
const ORANGE = "#e8590c";  // patches changed by hand, as in the legend
const alone = Boolean(document.getElementById(LIVE.packs[0].file));  // the page in one file

// One model for all explorers of a page, fetched when the first of them comes near.
let starting = null;
function startModel(progress) {
  starting ||= (async () => {
    const model = new Model();
    await model.start(progress);
    return model;
  })();
  return starting;
}

class Explorer {
  constructor(root) {
    this.root = root;
    this.form = root.querySelector(".explorer");
    this.state = { ...LIVE.first, ...JSON.parse(root.dataset.first) };
    this.side = LIVE.size / LIVE.patch;
    this.painter = new Painter(LIVE.size, LIVE.patch);
    this.flipped = new Set();
    this.cursor = 0;
    this.kept = new Map();
    this.slider = null;  // the one that is under the hand
    this.lastMove = 0;
    this.drawn = 0;
    if (!alone) this.find(".alone").append(this.link("This explorer as a single file"));
    this.fillIn();
    this.listen();
  }

  find(what) { return this.form.querySelector(what); }
  all(what) { return this.form.querySelectorAll(what); }
  set(what, text) { for (const element of this.all(what)) element.textContent = text; }

  // -------------------------------------------------------------- from the controls to the state

  fillIn() {
    for (const [name, value] of Object.entries(this.state)) {
      const control = this.form.elements[name];
      if (control) control.value = value;
    }
    this.form.style.setProperty("--side", this.side);
    const zoom = Math.max(1, Math.ceil(448 / LIVE.size));
    for (const canvas of this.all(".stage canvas")) canvas.width = canvas.height = zoom * LIVE.size;
  }

  listen() {
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("input", ({ target }) => this.moved(target));
    this.find("input[type=file]").addEventListener("change", ({ target }) => {
      if (target.files.length) this.open(target.files[0]);
      target.value = "";
    });
    this.find(".undo").addEventListener("click", () => {
      this.flipped.clear();
      this.change();
      this.find(".seen").focus();
    });
    this.root.addEventListener("dragover", (event) => {
      event.preventDefault();
      this.root.classList.add("dropping");
    });
    for (const kind of ["dragleave", "drop"]) {
      this.root.addEventListener(kind, () => this.root.classList.remove("dropping"));
    }
    this.root.addEventListener("drop", (event) => {
      event.preventDefault();
      const [file] = event.dataTransfer.files;
      if (file) this.open(file);
    });
    for (const slider of this.all("[type=range]")) {
      for (const kind of ["focus", "pointerenter"]) slider.addEventListener(kind, () => {
        this.slider = slider;
        if (this.result) this.lookAhead();
      });
      for (const kind of ["blur", "pointerleave"]) slider.addEventListener(kind, () => {
        if (slider !== document.activeElement) this.slider = null;
      });
    }
    this.listenToPatches();
  }

  moved(control) {
    const { name } = control;
    if (!(name in this.state)) return;
    this.lastMove = performance.now();
    this.state[name] = control.type === "range" ? Number(control.value) : control.value;
    // Patches were changed in another mask.
    if (["ratio", "seed", "kind"].includes(name)) this.flipped.clear();
    if (name === "view") this.drawFound();
    else this.change();
  }

  // Own photographs stay in this page.
  async open(file) {
    if (!this.model) return;
    try {
      const bitmap = await createImageBitmap(file);
      this.own = centreSquare(bitmap, LIVE.size);
      this.opened = (this.opened ?? 0) + 1;  // an earlier one had the same name
      this.taken = null;
      bitmap.close();
    } catch {
      this.say(`${file.name} is not a picture that this browser can read: use JPEG or PNG.`);
      return;
    }
    const tile = this.find(".own");
    tile.hidden = false;
    this.painter.paint(this.painter.patches(this.own), tile.querySelector("canvas"));
    this.form.elements.photograph.value = this.state.photograph = "yours";
    await this.change();
  }

  // -------------------------------------------------------------- patches under the pointer

  listenToPatches() {
    const canvas = this.find(".seen");
    const under = (event) => {
      const box = canvas.getBoundingClientRect();
      const place = (from, start, length) => Math.min(
        this.side - 1, Math.max(0, Math.floor((from - start) / length * this.side)));
      return place(event.clientY, box.top, box.height) * this.side
        + place(event.clientX, box.left, box.width);
    };
    let painting = null;  // what a drag with the mouse makes of the patches it crosses
    canvas.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch" || event.button) return;
      painting = 1 - this.mask[under(event)];
      canvas.setPointerCapture(event.pointerId);
      this.paint(under(event), painting);
    });
    canvas.addEventListener("pointermove", (event) => {
      this.point(under(event));
      if (painting !== null) this.paint(under(event), painting);
    });
    canvas.addEventListener("lostpointercapture", () => { painting = null; });
    canvas.addEventListener("click", (event) => {  // a finger may also scroll: it taps
      if (event.pointerType !== "touch") return;
      this.point(under(event));
      this.flip(this.cursor);
    });
    canvas.addEventListener("pointerleave", () => this.root.classList.remove("pointing"));
    canvas.addEventListener("focus", () => {
      if (canvas.matches(":focus-visible")) this.point(this.cursor);
    });
    canvas.addEventListener("blur", () => this.root.classList.remove("pointing"));
    canvas.addEventListener("keydown", (event) => this.pressed(event));
  }

  pressed(event) {
    const row = Math.floor(this.cursor / this.side), column = this.cursor % this.side;
    const last = this.side - 1;
    const to = {
      ArrowUp: [Math.max(0, row - 1), column], ArrowDown: [Math.min(last, row + 1), column],
      ArrowLeft: [row, Math.max(0, column - 1)], ArrowRight: [row, Math.min(last, column + 1)],
      Home: [row, 0], End: [row, last],
    }[event.key];
    if (to) this.point(to[0] * this.side + to[1]);
    else if ([" ", "Enter"].includes(event.key)) this.flip(this.cursor);
    else return;
    event.preventDefault();
  }

  // Outlines a patch in all three pictures.
  point(patch) {
    this.cursor = patch;
    this.root.classList.add("pointing");
    this.form.style.setProperty("--row", Math.floor(patch / this.side));
    this.form.style.setProperty("--column", patch % this.side);
    this.describe();
  }

  flip(patch) { this.paint(patch, 1 - this.mask[patch]); }

  paint(patch, hidden) {
    if (this.mask[patch] === hidden) return;
    if (hidden && this.mask.filter((other) => !other).length === 1) {
      this.say("One patch has to stay visible.");
      return;
    }
    if (!this.flipped.delete(patch)) this.flipped.add(patch);
    this.change();
  }

  describe() {
    const row = Math.floor(this.cursor / this.side) + 1, column = this.cursor % this.side + 1;
    const state = this.mask[this.cursor] ? "hidden" : "visible";
    this.find(".seen").setAttribute("aria-label", "What the model sees. "
      + `Row ${row}, column ${column}: ${state}. Arrow keys move, space changes it.`);
  }

  // -------------------------------------------------------------- from the state to the pictures

  takePhotograph() {
    const { photograph } = this.state;
    if (photograph === this.taken) return;
    const bytes = photograph === "yours" ? this.own
      : this.model.photograph(LIVE.photographs.indexOf(photograph));
    this.patches = this.painter.patches(bytes);
    this.taken = photograph;
    this.draw(".target", this.patches);
  }

  // The mask is drawn at once, what the model makes of it as soon as it has been computed.
  change() {
    const { kind, ratio, seed } = this.state;
    this.mask = makeMask(kind, this.side, ratio, seed, this.flipped);
    this.takePhotograph();
    this.draw(".seen", VIEWS.seen(this.patches, null, this.mask), this.flipped);
    this.tell();
    return this.compute();
  }

  async compute() {
    this.stale = true;
    if (this.busy) return;  // the latest state is computed next; those between are left out
    this.busy = true;
    try {
      while (this.stale) {
        this.stale = false;
        this.result = await this.resultOf(this.mask);
        this.drawFound();
      }
    } catch (error) {
      this.say(`The model stopped: ${error.message}. Reload the page to start it again.`);
    }
    this.busy = false;
    this.lookAhead();
  }

  // What the model makes of the photograph under a mask, kept for when it is asked for again.
  async resultOf(mask) {
    const { weights } = this.state, target = this.patches, key = this.keyOf(mask);
    await this.model.load(weights, (share) => this.say(
      `Fetching the weights ${weights}: ${Math.round(100 * share)} %`));
    if (!this.kept.has(key)) {
      const { prediction, milliseconds } = await this.model.run(weights, target, idsOf(mask));
      this.kept.set(key, { target, prediction, mask, milliseconds });
      if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
    }
    return this.kept.get(key);
  }

  keyOf(mask) {
    return [this.state.photograph, this.opened, this.state.weights, mask.join("")].join();
  }

  // Where the model is slow, the positions next to a slider's are computed while the hand rests.
  async lookAhead() {
    if (this.looking) return;
    this.looking = true;
    while (this.slider && !this.busy && this.result.milliseconds > SLOW) {
      const wait = this.lastMove + REST - performance.now();
      await new Promise((resolve) => { setTimeout(resolve, wait); });
      const next = this.slider
        && this.masksAhead().find((mask) => !this.kept.has(this.keyOf(mask)));
      if (!next || this.busy) break;
      try {
        await this.resultOf(next);
      } catch {
        break;  // the next move says what is wrong
      }
    }
    this.looking = false;
  }

  // The masks of a slider's other positions, the nearest first.
  masksAhead() {
    const { min, max, step, value, name } = this.slider, here = Number(value), masks = [];
    for (let i = 1; i <= Math.round((max - min) / step); i++) {
      for (const to of [here - i * step, here + i * step]) {
        if (to < min - 1e-9 || to > Number(max) + 1e-9) continue;
        const { kind, ratio, seed } = { ...this.state, [name]: Number(to.toFixed(2)) };
        masks.push(makeMask(kind, this.side, ratio, seed));
      }
    }
    return masks;
  }

  drawFound() {
    if (!this.result) return;
    const { target, prediction, mask, milliseconds } = this.result, { view } = this.state;
    this.draw(".found", VIEWS[view](target, prediction, mask));
    this.set(".view-name", WORDS[view]);
    const measured = mask.some(Boolean);
    const psnr = this.score("psnr", maskedPsnr(prediction, target, mask), measured);
    this.score("mean-psnr", maskedPsnr(meanColour(target, mask), target, mask), measured);
    this.find(".found").setAttribute("aria-label", `${WORDS[view]}, PSNR ${psnr}`);
    this.say(measured
      ? `Computed in this browser in ${Math.round(milliseconds)} ms. Nothing is sent anywhere.`
      : "Nothing is hidden, so there is nothing to measure: click on patches.");
    this.drawn += 1;
    this.root.dispatchEvent(new Event("drawn"));
  }

  score(name, value, measured) {
    const output = this.form.elements[name], bar = output.parentElement.querySelector(".bar i");
    output.textContent = measured ? `${value.toFixed(1)} dB` : "–";
    bar.style.width = measured ? `${100 * Math.min(1, value / PSNR_TOP)}%` : 0;
    return output.textContent;
  }

  tell() {
    const { kind, ratio, seed, weights } = this.state, length = this.mask.length;
    const hidden = this.mask.reduce((sum, value) => sum + value, 0);
    this.set(".visible", length - hidden);
    this.set(".hidden-count", hidden);
    this.form.elements["ratio-says"].textContent = `${Math.round(100 * hidden / length)} %`;
    this.form.elements["seed-says"].textContent = seed;
    this.form.elements.ratio.setAttribute("aria-valuetext", `${Math.round(100 * ratio)} percent`);
    for (const name of ["ratio", "seed"]) this.form.elements[name].disabled = kind === "by hand";
    // Their places stay, so that nothing else moves.
    this.find(".undo").style.visibility = this.flipped.size ? "" : "hidden";
    this.find(".optimistic").style.visibility = LIVE.normPix[weights] ? "" : "hidden";
    this.describe();
  }

  say(text) { this.find(".status").textContent = text; }

  draw(what, patches, outlined = []) {
    const canvas = this.find(what), context = canvas.getContext("2d");
    this.painter.paint(patches, canvas);
    const step = canvas.width / this.side, line = 4;
    context.strokeStyle = ORANGE;
    context.lineWidth = line;
    for (const patch of outlined) {
      const x = (patch % this.side) * step, y = Math.floor(patch / this.side) * step;
      context.strokeRect(x + line / 2, y + line / 2, step - line, step - line);
    }
  }

  // -------------------------------------------------------------- recorded pictures until then

  async start() {
    const note = this.root.querySelector(".live-note");
    const says = (share) => {
      note.textContent = `Loading the model, ${LIVE.megabytes} MB: ${Math.round(100 * share)} %.`;
    };
    try {
      says(0);
      this.model = await startModel(says);
      LIVE.photographs.forEach((name, i) => this.painter.paint(
        this.painter.patches(this.model.photograph(i)), this.find(`[value="${name}"] + canvas`)));
      await this.change();
      if (!this.result) throw new Error(this.find(".status").textContent);
      this.root.classList.add("ready");
    } catch (error) {
      this.root.classList.add("failed");
      note.textContent = `The model cannot run here (${error.message}).`;
      if (location.protocol === "file:" && !alone) {
        note.textContent = "Opened as a file, this page cannot run the model; it runs on ";
        note.append(this.link("a page of its own"), ".");
      }
    }
  }

  link(text) {
    const link = document.createElement("a");
    link.href = `${document.documentElement.dataset.up}explorer.html`;
    link.textContent = text;
    return link;
  }
}

for (const root of document.querySelectorAll(".live")) {
  const explorer = root.explorer = new Explorer(root);
  const near = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    near.disconnect();
    explorer.start();
  }, { rootMargin: "1000px" });
  near.observe(root);
}
