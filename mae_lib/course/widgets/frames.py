"""Explorers that move without a kernel: pictures computed beforehand, and a small player for them.

All frames lie in one picture, side by side. Where scripts run, the player shows one at a time, with
a slider and a button; where they do not, as on GitHub, the picture remains, with every frame on it.
"""

import base64
import html
import io
import json

import numpy as np
from PIL import Image, features

from mae_lib.course.pictures import bundle
from mae_lib.course.widgets import Explorer, quietly
from mae_lib.course.widgets.panels import GAP, STRIP, named

COLUMNS = 4
SECONDS = 0.25  # a frame, while it plays

STYLE = """
.mae-player { max-width: 100%; font: inherit; }
.mae-player img, .mae-player canvas { max-width: 100%; height: auto; }
.mae-player div { display: none; align-items: center; gap: 12px; margin: 6px 0; }
.mae-player button { min-width: 6em; font: inherit; }
.mae-player input { flex: 1; }
"""

# JupyterLab would take the arrow keys for itself: key presses stop at the player.
SCRIPT = """
for (const root of document.querySelectorAll(".mae-player:not([data-ready])")) {
  root.dataset.ready = "yes";
  const find = (what) => root.querySelector(what);
  const sheet = find("img"), canvas = find("canvas"), button = find("button");
  const range = find("input"), label = find("output"), text = find("p"), bar = find("div");
  const data = JSON.parse(find("script").textContent), last = data.labels.length - 1;
  canvas.width = data.width;
  canvas.height = data.height;
  let timer = 0;
  const show = (i) => {
    const x = (i % data.columns) * data.stepX;
    const y = Math.floor(i / data.columns) * data.stepY + data.top;
    canvas.getContext("2d").drawImage(
      sheet, x, y, data.width, data.height, 0, 0, data.width, data.height);
    range.value = i;
    range.setAttribute("aria-valuetext", data.labels[i]);
    canvas.setAttribute("aria-label", data.texts[i]);
    label.textContent = data.labels[i];
    text.textContent = data.texts[i];
  };
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    button.textContent = "▶ play";
  };
  const step = () => {
    show(Number(range.value) + 1);
    if (Number(range.value) === last) stop();
  };
  button.addEventListener("click", () => {
    if (timer) return stop();
    if (Number(range.value) === last) show(0);
    button.textContent = "❚❚ pause";
    timer = setInterval(step, data.milliseconds);
  });
  range.addEventListener("input", () => {
    stop();
    show(Number(range.value));
  });
  for (const kind of ["keydown", "keyup", "keypress"])
    root.addEventListener(kind, (event) => event.stopPropagation());
  const ready = () => {
    root.style.width = data.width + "px";
    sheet.style.display = "none";
    canvas.style.display = "block";
    bar.style.display = "flex";
    stop();
    show(data.first);
  };
  if (sheet.complete && sheet.naturalWidth) ready();
  else sheet.addEventListener("load", ready);
}
"""


def sheet_of(pictures: list[np.ndarray], labels: list[str], quality: int) -> tuple[str, bytes]:
    """Pictures of one size in rows of COLUMNS, each under its label, as one file: type and content.

    One stands 2 · GAP pixels right of the other, and STRIP + GAP below.
    """
    height, width = pictures[0].shape[:2]
    columns = min(COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + STRIP + GAP), columns * (width + 2 * GAP), 3), 255, np.uint8)
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        y, x = i // columns * (height + STRIP + GAP), i % columns * (width + 2 * GAP)
        sheet[y : y + height + STRIP, x : x + width] = named(label, picture, size=19)
    kind = "webp" if features.check("webp") and max(sheet.shape) < 16384 else "jpeg"
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, kind, quality=quality)
    return f"image/{kind}", buffer.getvalue()


def player_html(pictures: list[np.ndarray], texts: list[str], labels: list[str], name: str,
                first: int = 0, quality: int = 80) -> str:
    """A player of `pictures` (H, W, 3) uint8, each with a sentence and a label for its slider.

    The page needs nothing else: no kernel, no network.
    """
    kind, content = sheet_of(pictures, [f"{name} {label}" for label in labels], quality)
    height, width = pictures[0].shape[:2]
    data = json.dumps({
        "width": width, "height": height, "columns": min(COLUMNS, len(pictures)), "top": STRIP,
        "stepX": width + 2 * GAP, "stepY": height + STRIP + GAP, "first": first,
        "milliseconds": round(1000 * SECONDS), "labels": labels, "texts": texts,
    }, ensure_ascii=False).replace("</", "<\\/")
    alt = html.escape(f"{len(pictures)} pictures for {name} from {labels[0]} to {labels[-1]}. "
                      f"The last: {texts[-1]}")
    source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    return f"""<div class="mae-player">
<style>{STYLE}</style>
<img alt="{alt}" src="{source}">
<canvas role="img" style="display: none"></canvas>
<div style="display: none"><button type="button">▶ play</button>
<input type="range" min="0" max="{len(pictures) - 1}" value="{first}"
aria-label="{html.escape(name)}">
<output></output></div>
<p aria-live="polite"></p>
<script type="application/json">{data}</script>
<script>{SCRIPT}</script>
</div>"""


class Player:
    """One control of an explorer, moved through `values` beforehand; the others stay as they are.

    One output with three faces: the player; a PNG with some stills, for pages that take neither
    scripts nor this; and a sentence, which tests read.
    """

    def __init__(self, explorer: Explorer, control: str, values: list, first: int = 0,
                 quality: int = 80):
        self.explorer, self.control, self.values = explorer, control, list(values)
        fixed = explorer.values
        self.frames = [quietly(explorer.render, **{**fixed, control: v}) for v in self.values]
        self.labels = [f"{v}" for v in self.values]  # beside the slider
        self.first, self.quality = first, quality

    def __repr__(self) -> str:
        return (f"[player: {len(self.frames)} frames, {self.control.replace('_', ' ')} from "
                f"{self.values[0]} to {self.values[-1]}. {self.frames[-1].text}]")

    def html(self) -> str:
        return player_html([f.picture for f in self.frames], [f.text for f in self.frames],
                           self.labels, self.control.replace("_", " "), self.first, self.quality)

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        some = np.linspace(0, len(self.values) - 1, min(6, len(self.values))).round().astype(int)
        still = self.explorer.still([{self.control: self.values[i]} for i in some])
        data, alt = bundle(still, f"Stills of an animation. {repr(self)[1:-1]}")
        return {"text/plain": repr(self), "text/html": self.html(), **data}, alt
