"""A notebook opens with the learner's newest work, and saving it changes no other file.

However the files' times fall, in whatever way Jupyter was started: `make lab` has settings of its
own, and every other Jupyter in this environment loads jupytext's contents manager.
"""

import contextlib
import copy
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest

from mae_lib.course.widgets import VIEW

ROOT = Path(__file__).resolve().parents[2]
NAME = "04_reconstruction_loss"
ANSWER = "my_answer = 42"


class Server:
    """A Jupyter server over a small copy of this checkout, which lies in folder/course."""

    def __init__(self, folder: Path, root: str = "course", **environment: str):
        self.course, self.prefix = folder / "course", "" if root == "course" else "course/"
        (self.course / "notebooks/py").mkdir(parents=True)
        for name in ("pyproject.toml", f"notebooks/{NAME}.ipynb", f"notebooks/py/{NAME}.py"):
            shutil.copy(ROOT / name, self.course / name)
        # Somebody's own habits, which are not the course's.
        (folder / "jupytext.toml").write_text('formats = "ipynb,py:percent"\n', "utf-8")
        self.git("init", "-q")
        self.git("add", ".")
        self.git("-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "The course")
        self.notebook = self.course / f"notebooks/{NAME}.ipynb"
        self.pair = self.course / f"notebooks/py/{NAME}.py"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
                   "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True",
                   "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0",
                   f"--ServerApp.root_dir={folder / root}"]
        places = {f"JUPYTER_{name}_DIR": str(folder / name) for name in ("CONFIG", "RUNTIME")}
        self.log = open(folder / "log.txt", "w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            command, cwd=folder / root, stdout=self.log, stderr=self.log, start_new_session=True,
            env={**os.environ, **places, "JUPYTER_PREFER_ENV_PATH": "1", **environment})

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.course, check=True)

    def wait(self, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.address}/api/status", timeout=5).close()
                return
            time.sleep(0.1)
        pytest.fail(f"Jupyter did not start:\n{self.said()[-3000:]}")

    def said(self) -> str:
        self.log.flush()
        return Path(self.log.name).read_text("utf-8")

    def ask(self, path: str, body: dict | None = None) -> dict:
        """What the server answers about a path of the course; `body` is stored there."""
        request = urllib.request.Request(
            f"{self.address}/api/contents/{self.prefix}{path}",
            data=body and json.dumps(body).encode(), method="PUT" if body else "GET",
            headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            pytest.fail(f"{error.code}: {error.read().decode()[:500]}")

    def stop(self) -> None:
        for how in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(self.process.pid, how)
                self.process.wait(10)
        self.log.close()


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """All are started together, as each takes a while."""
    folder = tmp_path_factory.mktemp
    found = {"make lab": Server(folder("lab"), JUPYTER_CONFIG_PATH=str(ROOT / "tools/jupyter")),
             "jupyter lab": Server(folder("plain")),
             "from the folder above": Server(folder("above"), root=".")}
    try:
        yield found
    finally:
        for server in found.values():
            server.stop()


@pytest.fixture(params=["make lab", "jupyter lab", "from the folder above"])
def server(servers, request):
    server = servers[request.param]
    server.wait()
    server.git("checkout", "-q", ".")
    return server


def touch(path: Path, seconds: float) -> None:
    """Date the file so many seconds into the future; a second is where jupytext's patience ends."""
    os.utime(path, (time.time() + seconds,) * 2)


def edit_notebook(server: Server, text: str = ANSWER) -> None:
    notebook = nbformat.read(server.notebook, as_version=4)
    notebook.cells[-2].source = text
    nbformat.write(notebook, server.notebook)


def edit_pair(server: Server) -> None:
    server.pair.write_text(server.pair.read_text("utf-8") + "\n# %%\nnews = 1\n", "utf-8")


def pull_one(server: Server) -> None:
    edit_notebook(server, "another_edition = 2")
    touch(server.notebook, -1000)
    server.git("checkout", "-q", f"notebooks/{NAME}.ipynb")
    touch(server.pair, -500)


CASES = {
    "touched notebook": lambda s: touch(s.notebook, 60),
    "touched pair": lambda s: touch(s.pair, 60),
    "notebook edited elsewhere": lambda s: (edit_notebook(s), touch(s.pair, -60)),
    "notebook edited, older than its pair": lambda s: (edit_notebook(s), touch(s.pair, 60)),
    "pair edited": lambda s: (edit_pair(s), touch(s.pair, 60)),
    "pair edited, older than the notebook": lambda s: (edit_pair(s), touch(s.pair, -60)),
    "both edited": lambda s: (edit_notebook(s), edit_pair(s), touch(s.pair, 60)),
    "checkout of one notebook": pull_one,
    "no pair at all": lambda s: s.pair.unlink(),
}


def files(server: Server) -> dict[str, bytes]:
    return {str(path.relative_to(server.course)): path.read_bytes()
            for path in sorted(server.course.rglob("*"))
            if path.is_file() and not {".git", ".ipynb_checkpoints"} & set(path.parts)}


def sources(notebook) -> list[str]:
    return [cell["source"] for cell in notebook["cells"]]


@pytest.mark.parametrize("case", CASES)
def test_it_opens_with_the_newest_work_and_saving_changes_nothing_else(server, case):
    CASES[case](server)
    before = files(server)
    path = f"notebooks/{NAME}.ipynb"
    opened = server.ask(f"{path}?content=1&type=notebook")
    assert sources(opened["content"]) == sources(nbformat.read(server.notebook, as_version=4))
    assert files(server) == before, "opening is not saving"

    answered = copy.deepcopy(opened["content"])
    answered["cells"][1]["source"] = "what_i_learned = 'patches'"
    saved = server.ask(path, {"type": "notebook", "content": answered})
    assert saved["name"] == f"{NAME}.ipynb"
    after = files(server)
    assert {name for name in {*before, *after} if before.get(name) != after.get(name)} == {path}
    stored = nbformat.read(server.notebook, as_version=4)
    assert sources(stored) == sources(answered)
    assert "jupytext" not in stored.metadata
    assert sources(server.ask(f"{path}?content=1&type=notebook")["content"]) == sources(answered)


def test_make_lab_opens_a_notebook_with_stills_in_place_of_lost_controls(servers):
    server = servers["make lab"]
    server.wait()
    server.git("checkout", "-q", ".")
    notebook = nbformat.read(server.notebook, as_version=4)
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
    data = {"text/plain": "[explorer]", VIEW: {"model_id": "lost"}}
    cell.outputs = [nbformat.v4.new_output("display_data", data)]
    nbformat.write(notebook, server.notebook)
    opened = server.ask(f"notebooks/{NAME}.ipynb?content=1&type=notebook")["content"]
    shown = next(cell for cell in opened["cells"] if cell["cell_type"] == "code")["outputs"]
    assert [output["data"] for output in shown] == [{"text/plain": "[explorer]"}]


def test_beside_the_lessons_make_lab_shows_lessons_only(servers):
    names = {}
    for how, server in servers.items():
        server.wait()
        names[how] = {entry["name"] for entry in server.ask("notebooks")["content"]}
    assert names == {"make lab": {f"{NAME}.ipynb"}, "jupyter lab": {f"{NAME}.ipynb", "py"},
                     "from the folder above": {f"{NAME}.ipynb", "py"}}


def test_only_make_lab_does_without_jupytext(servers):
    for how, server in servers.items():
        server.wait()
        assert ("Jupytext Server Extension" in server.said()) == (how != "make lab"), how
