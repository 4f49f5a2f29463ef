"""The model on the web pages: its files in the folder `live` of the site.

A page fetches one file, which holds ONNX Runtime, the first weights and the photographs; other
weights are a file each, fetched when they are chosen. The scripts are in
site/live. `explorer.html` is the explorer as one file that needs no server.
"""

import base64
import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
from export_onnx import export

from mae_lib import course
from mae_lib.training.checkpoints import load_shipped, write_atomically

HERE = Path(__file__).resolve().parent
WEIGHTS = "pixels", "original"
PRECISION = "int8"  # costs under 0.1 dB, and is smaller and faster: tests/course/test_browser_model
SCRIPTS = ("masks.js", "pictures.js", "model.js", "explorer.js")
FIRST = {"photograph": "Grace Hopper", "kind": "random", "ratio": 0.75, "seed": 0,
         "weights": WEIGHTS[0], "view": "composite"}

RUNTIME = "onnxruntime-web"
VERSION = "1.30.0"
INTEGRITY = ("sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZ"
             "ClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==")
REGISTRY = "https://registry.npmjs.org"  # where there is no npm to ask
LIBRARY, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
CACHE = HERE.parent / "build" / f"{RUNTIME}-{VERSION}"


def runtime() -> tuple[bytes, bytes]:
    """ONNX Runtime's JavaScript and WebAssembly, fetched on first use.

    Raises OSError with one sentence if they cannot be had, or are not what is expected.
    """
    files = CACHE / LIBRARY, CACHE / WASM
    if not all(path.is_file() for path in files):
        package = fetch_package()
        found = f"sha512-{base64.b64encode(hashlib.sha512(package).digest()).decode()}"
        if found != INTEGRITY:
            raise OSError(f"what the registry sent as {RUNTIME} {VERSION} is not what is pinned "
                          f"({found}).")
        CACHE.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(package)) as archive:
            for path in files:
                content = archive.extractfile(f"package/dist/{path.name}").read()
                write_atomically(path, lambda temporary, content=content:
                                 temporary.write_bytes(content))
    return tuple(path.read_bytes() for path in files)


def fetch_package() -> bytes:
    """The package's archive, by npm where it is installed, as it knows registries and proxies."""
    npm = shutil.which("npm")
    with tempfile.TemporaryDirectory() as folder:
        if npm:
            command = [npm, "pack", f"{RUNTIME}@{VERSION}", "--pack-destination", folder]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            archives = list(Path(folder).glob("*.tgz"))
            if done.returncode or not archives:
                said = done.stderr.strip()[-200:]
                raise OSError(f"npm could not fetch {RUNTIME} {VERSION} ({said}).")
            return archives[0].read_bytes()
    address = f"{REGISTRY}/{RUNTIME}/-/{RUNTIME}-{VERSION}.tgz"
    try:
        with urllib.request.urlopen(address, timeout=60) as response:
            return response.read()
    except OSError as error:
        raise OSError(f"{RUNTIME} {VERSION} could not be fetched ({error}).") from None


@dataclass
class Pack:
    """A file that a page fetches: some parts one after the other, compressed."""

    weights: str
    parts: dict[str, bytes] = field(repr=False)

    @property
    def file(self) -> str:
        return f"{self.weights}.bin"  # not .gz, which some servers would unpack on the way

    def content(self) -> bytes:
        return gzip.compress(b"".join(self.parts.values()), 9, mtime=0)


class Live:
    """What the pages need to run the model, of sizes that the weights decide.

    Raises OSError if the runtime cannot be had, ValueError for weights of different sizes.
    """

    photographs = tuple(course.PHOTOGRAPHS)

    def __init__(self, precision: str = PRECISION):
        library, wasm = runtime()
        models = {name: load_shipped(name) for name in WEIGHTS}
        sizes = {(m.img_size, m.patch_size, m.embed_dim) for m, _ in models.values()}
        if len(sizes) > 1:
            raise ValueError(f"The shipped weights have different sizes, {sizes}; the pages show "
                             "weights of one size.")
        self.size, self.patch, self.width = sizes.pop()
        self.patches = (self.size // self.patch) ** 2
        pixels = course.photographs(self.size).permute(0, 2, 3, 1).numpy().tobytes()
        self.packs = [Pack(name, {"weights": export(model, facts["norm_pix"], precision)
                                  .SerializeToString()})
                      for name, (model, facts) in models.items()]
        self.packs[0].parts |= {"library": library, "runtime": wasm, "photographs": pixels}
        self.norm_pix = {name: facts["norm_pix"] for name, (_, facts) in models.items()}
        self.contents = {pack.file: pack.content() for pack in self.packs}

    def script(self) -> str:
        """What the explorers run, with what they have to know, as one script."""
        first = self.contents[self.packs[0].file]
        about = {
            "worker": (HERE / "live/worker.js").read_text("utf-8"),
            "size": self.size, "patch": self.patch, "photographs": self.photographs,
            "normPix": self.norm_pix, "first": FIRST, "megabytes": round(len(first) / 1e6),
            "packs": [{"weights": pack.weights, "file": pack.file,
                       "bytes": len(self.contents[pack.file]),
                       "parts": [[name, len(part)] for name, part in pack.parts.items()]}
                      for pack in self.packs],
        }
        scripts = "\n".join((HERE / "live" / name).read_text("utf-8") for name in SCRIPTS)
        return f'"use strict";\n{{\nconst LIVE = {json.dumps(about)};\n{scripts}}}\n'

    def files(self) -> dict[str, bytes]:
        """What lies in the folder `live`: {name: content}."""
        return {"live.js": self.script().encode(), **self.contents}

    def page(self, css: str) -> str:
        """The explorer as a page that opens from a disk, with all it needs inside."""
        css = re.sub(r"@font-face .*", "", css)  # it would be another file
        inside = {name: base64.b64encode(content).decode()
                  for name, content in self.contents.items()}
        loader = jinja2.FileSystemLoader(HERE / "live")
        template = jinja2.Environment(loader=loader, autoescape=True).get_template("page.html")
        return template.render(live=self, css=css, script=self.script(), inside=inside)


def style() -> str:
    """How the site looks, the explorer with it."""
    return "".join((HERE / name).read_text("utf-8") for name in ("site.css", "live/live.css"))


def shell(live: Live, recorded: str, first: dict) -> str:
    """The explorer's HTML around the recorded pictures, which it replaces when it is ready."""
    loader = jinja2.FileSystemLoader(HERE / "live")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True)
    return environment.get_template("shell.html").render(live=live, recorded=recorded, first=first)
