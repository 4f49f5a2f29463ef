"""Google Colab: explorers and setup cells on what it has installed, and addresses and badges.

The older packages lie in a folder of their own, which only the kernels of these tests look into
first. It is filled once, from the package index, and kept in the virtual environment.
"""

import http.server
import importlib.util
import json
import os
import re
import shutil
import site
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from test_project import COLAB, PYPROJECT, tracked_files

from mae_lib import course
from mae_lib.course.widgets import VIEW

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import colab  # noqa: E402

FOLDER = Path(sys.prefix) / ".colab"
WHEELS = FOLDER / "wheels"  # what pip needs to build ours
TOOLS = PYPROJECT["build-system"]["requires"]
OLDER = {"ipywidgets": COLAB["ipywidgets"], "ipykernel": COLAB["ipykernel"], "ipython": "7.34.0"}
# What these need and newer ones no longer do.
HELPERS = ["decorator==4.4.2", "backcall==0.2.0", "pickleshare==0.7.5", "ipython_genutils==0.2.0"]
if sys.version_info < (3, 13):  # Colab has built its own for later ones
    OLDER["numpy"] = COLAB["numpy"]

# Moves every control to both ends as a page does: by a message about the state that has changed.
CODE = """
import sys, IPython, ipykernel, ipywidgets, numpy
print("ipywidgets", ipywidgets.__version__, "ipykernel", ipykernel.__version__,
      "ipython", IPython.__version__, "numpy", numpy.__version__)
sys.path.insert(0, {tests!r})
from test_widgets import MAKERS, ends
for module, make in MAKERS:
    explorer = make()
    display(explorer)
    for name, control in explorer.controls.items():
        before, choice = explorer.frame, hasattr(control, "options")
        for i, value in zip((0, -1), ends(control)):
            if choice:
                control.set_state({{"index": range(len(control.options))[i]}})
            elif "value" in control.keys:
                control.set_state({{"value": value}})
            else:
                control.value = value
            assert explorer.values[name] == value, (make, name, value)
        assert explorer.frame is not before and explorer.caption.value == explorer.frame.text
    print(module.__name__, make.__name__, "moves")
"""


# ---------------------------------------------------------------- explorers


@pytest.fixture(scope="module")
def older():
    """The folder of older packages, filled if it is not."""
    wanted = [f"{name}=={version}" for name, version in OLDER.items()] + HELPERS
    contents = "\n".join(wanted + TOOLS)
    note = FOLDER / "installed.txt"
    if not note.exists() or note.read_text() != contents:
        shutil.rmtree(FOLDER, ignore_errors=True)
        both = ["install", "--target", FOLDER, *wanted], ["download", "--dest", WHEELS, *TOOLS]
        for words in both:
            done = subprocess.run(
                [sys.executable, "-m", "pip", *words, "--quiet", "--no-deps",
                 "--only-binary=:all:", "--disable-pip-version-check"],
                capture_output=True, text=True, timeout=300)
            if done.returncode:
                shutil.rmtree(FOLDER, ignore_errors=True)
                said = done.stderr.strip()[-200:]
                pytest.skip(f"Colab's packages could not be installed: {said}")
        note.write_text(contents)
    return FOLDER


@pytest.mark.slow
def test_every_explorer_is_shown_and_moves_under_colabs_packages(older):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(CODE.format(tests=str(TESTS)))])
    client = NotebookClient(notebook, timeout=300, kernel_name="python3")
    client.execute(env={**os.environ, "PYTHONPATH": str(older), "MPLBACKEND": "Agg",
                        "PYDEVD_DISABLE_FILE_VALIDATION": "1", "JUPYTER_PREFER_ENV_PATH": "1"})
    outputs = notebook.cells[0].outputs
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    for name, version in OLDER.items():
        assert f"{name} {version}" in text
    shown = [output.data for output in outputs if VIEW in output.get("data", {})]
    assert len(shown) == text.count("moves") > 10
    for data in shown:
        assert data[VIEW]["model_id"] and "[explorer" in data["text/plain"]
        assert any(kind.startswith("image/") for kind in data)


AFTER_A_RESTART = """
import IPython
from IPython.core.interactiveshell import InteractiveShell
from mae_lib import course
shell = InteractiveShell.instance()
shell.run_cell("from mae_lib import course; course.start()")
shell.run_cell("model(images)")
shell.run_cell("def f():\\n    y = z\\n    z = 1\\nf()")
print("IPython", IPython.__version__)
"""


@pytest.mark.slow
@pytest.mark.parametrize("packages", ["ours", "Colab's"])
def test_a_cell_that_needs_those_above_says_so(packages, older):
    """Setup alone was run again, then some cell further down."""
    env = {**os.environ, "PYTHONPATH": str(older) if packages == "Colab's" else ""}
    command = [sys.executable, "-c", AFTER_A_RESTART]
    said = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    assert (f"IPython {OLDER['ipython']}" in said) == (packages == "Colab's")
    first, second = re.findall(r"(?:Unbound)?(?:Local|Name)Error[^:\n]*: (.*)", said)
    assert first.startswith("name 'model' is not defined. If a cell above defines it, that cell "
                            "has not run since the kernel started: ")
    assert "'z'" in second and "cell" not in second


# ---------------------------------------------------------------- badges and addresses


@pytest.fixture(scope="module")
def fork(tmp_path_factory):
    """This checkout as a repository at a local address, prepared for Colab."""
    folder = tmp_path_factory.mktemp("github") / "jane-doe" / "mae"
    for path in tracked_files():
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    readme = folder / "README.md"
    if colab.MARK not in readme.read_text("utf-8"):
        readme.write_text(f"{colab.MARK}\n{readme.read_text('utf-8')}", "utf-8")
    prepare(folder, "jane-doe/mae")
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=x", "-c", "user.email=x@y", "commit", "--quiet", "-m", "x")
    return folder


def git(folder, *words):
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def prepare(folder, address, branch="main"):
    return colab.prepare_all(folder / "notebooks", *colab.parse(address, branch))


def texts(folder):
    patterns = ("notebooks/*.ipynb", "notebooks/py/*", "README.md")
    paths = [path for pattern in patterns for path in folder.glob(pattern)]
    return {str(path.relative_to(folder)): path.read_text("utf-8") for path in paths}


@pytest.fixture
def copy(fork, tmp_path):
    for name in ("notebooks", "notebooks/py"):
        shutil.copytree(fork / name, tmp_path / name, dirs_exist_ok=True)
    shutil.copy(fork / "README.md", tmp_path)
    return tmp_path


def test_badges_and_addresses_change_nothing_else_and_can_be_changed_and_taken_out(copy):
    jane = texts(copy)
    assert prepare(copy, "https://github.com/jane-doe/mae.git") == []
    assert len(prepare(copy, "")) == len(jane)
    plain = texts(copy)
    assert not any("colab-badge" in text or "jane-doe" in text for text in plain.values())
    assert len(prepare(copy, "lab/mae", "v1/x")) == len(jane)
    other = texts(copy)
    for name, text in other.items():
        assert "jane-doe" not in text
        assert text.replace("lab/mae/blob/v1/x", "jane-doe/mae/blob/main").replace(
            "lab/mae@v1/x", "jane-doe/mae") == jane[name]
    for name, text in jane.items():
        page = "00_start_here" if name == "README.md" else Path(name).stem
        address = f"colab.research.google.com/github/jane-doe/mae/blob/main/notebooks/{page}.ipynb"
        assert text.count("colab-badge.svg") == text.count(address) == 1
        assert ('REPO = "jane-doe/mae"' in text.replace("\\", "")) == (name != "README.md")
        added = len(text.splitlines()) - len(plain[name].splitlines())
        assert added == 2, "a badge and an empty line"
    prepare(copy, "jane-doe/mae")
    assert texts(copy) == jane


def test_prepared_notebooks_keep_outputs_and_agree_with_their_pairs(copy):
    import build

    for path in copy.glob("notebooks/*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        stored = nbformat.read(ROOT / "notebooks" / path.name, as_version=4)
        assert build.paired_text(notebook) == (copy / f"notebooks/py/{path.stem}.py").read_text()
        for cell in (*notebook.cells, *stored.cells):
            cell.source = ""
        assert notebook == stored


@pytest.mark.parametrize("address, branch, words", [
    ("mae", "main", "REPO must be owner/name on GitHub, such as ada/course, got 'mae'."),
    ("jane doe/mae", "main", "got 'jane doe/mae'."),
    ("https://gitlab.com/jane/mae", "main", "REPO must be owner/name"),
    ("jane/mae/tree/main", "main", "REPO must be owner/name"),
    ("jane/mae", "no such", "BRANCH is the name of a branch, such as main, not 'no such'."),
])
def test_a_wrong_address_is_explained_in_one_sentence(address, branch, words):
    with pytest.raises(ValueError) as error:
        colab.parse(address, branch)
    assert words in str(error.value) and str(error.value).count(". ") == 0


@pytest.mark.parametrize("address", ["a-b/c.d_e", "https://github.com/a-b/c.d_e",
                                     "https://github.com/a-b/c.d_e/", "a-b/c.d_e.git"])
def test_an_address_may_be_that_of_a_page(address):
    assert colab.parse(address) == ("a-b/c.d_e", "main")


# ---------------------------------------------------------------- the setup cell


def setups(folder):
    """The setup cell of every notebook."""
    for path in sorted(folder.glob("notebooks/[0-9]*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        yield next(cell.source for cell in cells if cell.cell_type == "code")


class SessionService:
    """Colab's, as its setup cells meet it: Jupyter's list of the notebooks that are open.

    Its real answers have `path` "fileId=" and, percent-encoded, either the address on GitHub from
    which a notebook was opened or its name in Drive; `name` is that of the file.
    """

    def __init__(self):
        self.answer = b"[]"  # or a function that answers a request
        self.asked = []
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                service.asked.append(self.path)
                if callable(service.answer):
                    return service.answer(self)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(service.answer)

            def log_message(self, *words):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.env = {"COLAB_JUPYTER_IP": "127.0.0.1", "NO_PROXY": "127.0.0.1",
                    "KMP_TARGET_PORT": str(self.server.server_port)}
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


def opened(*paths):
    """The service's answer when notebooks with these paths are open."""
    return json.dumps([
        {"id": str(i), "path": path, "name": "00_start_here.ipynb", "type": "notebook",
         "kernel": {"id": str(i), "name": "python3", "execution_state": "busy", "connections": 1},
         "notebook": {"path": path, "name": "00_start_here.ipynb"}}
        for i, path in enumerate(paths)]).encode()


def page(repo, branch, folder="notebooks"):
    """The path of a notebook that was opened from GitHub."""
    address = f"https://github.com/{repo}/blob/{branch}/{folder}/00_start_here.ipynb"
    return "fileId=" + quote(address, safe="")


@pytest.fixture
def service():
    service = SessionService()
    yield service
    service.server.shutdown()
    service.server.server_close()


class Pretence:
    """The setup cell run as if this were Colab. `lines` is what a false pip was asked for."""

    def __init__(self, monkeypatch):
        self.cell = next(setups(ROOT))
        self.lines, self.installed, self.works = [], False, True
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: (
            find(name, package) if name != "mae_lib" or self.installed else None))
        monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
        monkeypatch.setattr(course, "start", lambda: print("Ready"))

    def run_line_magic(self, name, line):
        assert name == "pip"
        self.lines.append(line)
        self.installed = self.works

    def run(self, repo=""):
        assert self.cell.count('REPO = ""') == 1
        cell = self.cell.replace('REPO = ""', f'REPO = "{repo}"')
        exec(compile(cell, "setup", "exec"), {"get_ipython": lambda: self})

    def asks(self):
        """Whether it stops with the one sentence that says what to do."""
        with pytest.raises(RuntimeError) as stopped:
            self.run()
        text = str(stopped.value)
        assert stopped.value.__context__ is None, "a learner sees one error, not two"
        assert text.startswith("mae_lib is not installed: on Colab, set REPO above to")
        assert '"owner/name"' in text and "`make lab`" in text and ". " not in text
        return True


@pytest.fixture
def pretence(monkeypatch, service):
    for name, value in service.env.items():
        monkeypatch.setenv(name, value)
    return Pretence(monkeypatch)


DRIVE = "fileId=1aB2c3D4e5F6g7H8i9J0kLmNoPqRsTuVw"
FOUND = {
    "a repository": ([page("lab/mae", "main")], "lab/mae@main"),
    "a fork": ([page("jane-doe/MAE_2.0", "main")], "jane-doe/MAE_2.0@main"),
    "a branch with slashes": ([page("lab/mae", "user/jane/v1.2")], "lab/mae@user/jane/v1.2"),
    "a branch named as the folder": ([page("lab/mae", "notebooks/x")], "lab/mae@notebooks/x"),
    "a full reference": ([page("lab/mae", "refs/heads/main")], "lab/mae@refs/heads/main"),
    "a commit": ([page("lab/mae", "0123abcd" * 5)], "lab/mae@" + "0123abcd" * 5),
    "an encoded branch": ([page("lab/mae", "user%2Fx")], "lab/mae@user/x"),
    "nothing encoded": (["fileId=https://github.com/lab/mae/blob/main/notebooks/01_a.ipynb"],
                        "lab/mae@main"),
    "two notebooks of one fork": (2 * [page("lab/mae", "main")], "lab/mae@main"),
    "one more from Drive": ([DRIVE, page("lab/mae", "main")], "lab/mae@main"),
}


@pytest.mark.parametrize("paths, where", FOUND.values(), ids=FOUND)
def test_opened_from_github_it_finds_where_to_install_from(paths, where, service, pretence, capsys):
    service.answer = opened(*paths)
    pretence.run()
    assert service.asked == ["/api/sessions"]
    # Without dependencies: nothing that Colab has can be replaced.
    assert pretence.lines == [f"install -q --no-deps git+https://github.com/{where}"]
    said = capsys.readouterr().out
    assert said == (f"Installing only mae_lib, from github.com/{where}: torch, numpy and "
                    "ipywidgets stay.\nReady\n")
    pretence.run()  # again, as after a restart
    assert len(service.asked) == len(pretence.lines) == 1
    assert capsys.readouterr().out == "Ready\n"


def status(code):
    def answer(handler):
        handler.send_error(code)
    return answer


def cut_off(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(opened(page("lab/mae", "main")))


def nothing(handler):
    time.sleep(1)


NOT_FOUND = {
    "Drive": opened(DRIVE),
    "an upload": opened("fileId=00_start_here.ipynb"),
    "a gist": opened("fileId=https%3A%2F%2Fgist.github.com%2Fjane%2F0123abcd"),
    "Colab's own page": opened("fileId=%2Fv2%2Fexternal%2Fnotebooks%2Fempty.ipynb"),
    "elsewhere on the web": opened(page("lab/mae", "main").replace("github.com", "example.org")),
    "another folder": opened(page("lab/mae", "main", folder="drafts")),
    "a branch for a shell": opened(page("lab/mae", "$(touch x)")),
    "two forks": opened(page("lab/mae", "main"), page("jane/mae", "main")),
    "two branches": opened(page("lab/mae", "main"), page("lab/mae", "dev")),
    "no session": b"[]",
    "nothing": b"",
    "null": b"null",
    "a web page": b"<!doctype html><title>Colab</title>",
    "no text": bytes(range(256)),
    "refused": status(403),
    "not there": status(404),
    "an error of the server": status(500),
    "cut off": cut_off,
    "not HTTP": lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "hung up": lambda handler: handler.connection.shutdown(socket.SHUT_RDWR),
    "no answer in time": nothing,
}


@pytest.mark.parametrize("answer", NOT_FOUND.values(), ids=NOT_FOUND)
def test_where_it_cannot_know_it_asks_and_the_line_is_enough(answer, service, pretence, capsys):
    assert pretence.cell.count("timeout=5") == 1
    if answer is nothing:
        pretence.cell = pretence.cell.replace("timeout=5", "timeout=0.2")
    service.answer = answer
    assert pretence.asks()
    assert len(service.asked) == 1 and pretence.lines == [] and capsys.readouterr().out == ""
    pretence.run("lab/mae@dev")
    assert pretence.lines == ["install -q --no-deps git+https://github.com/lab/mae@dev"]


def test_without_the_service_it_asks(service, pretence, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("KMP_TARGET_PORT", str(unused.getsockname()[1]))
    assert pretence.asks()
    monkeypatch.delenv("KMP_TARGET_PORT")
    assert pretence.asks() and pretence.lines == [] == service.asked


def test_the_line_counts_more_than_what_the_service_says(service, pretence):
    service.answer = opened(page("jane/mae", "main"))
    pretence.run("lab/mae")
    assert pretence.lines == ["install -q --no-deps git+https://github.com/lab/mae"]


def test_when_pip_fails_it_asks(service, pretence, capsys):
    service.answer = opened(page("jane/private", "main"))
    pretence.works = False
    assert pretence.asks() and len(pretence.lines) == 1
    assert "from github.com/jane/private@main" in capsys.readouterr().out


def test_outside_colab_nothing_is_asked_or_installed(service, pretence, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "google.colab")
    service.answer = opened(page("lab/mae", "main"))
    with pytest.raises(RuntimeError, match="elsewhere, run `make lab`"):
        pretence.run("lab/mae")
    pretence.installed = True
    pretence.run()
    assert service.asked == pretence.lines == [] and capsys.readouterr().out == "Ready\n"


class Machine(NamedTuple):
    """An environment like Colab's: its packages, and all of ours but mae_lib."""

    folder: Path
    env: dict

    @property
    def packages(self):
        return next(self.folder.glob("lib/python*/site-packages"))

    def run(self, *sources):
        """What the cells print, in a new kernel."""
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        notebook = nbformat.v4.new_notebook(cells=cells)
        place = {"metadata": {"path": str(self.folder)}}  # not here, where mae_lib is
        client = NotebookClient(notebook, timeout=300, kernel_name="colab", resources=place)
        client.execute(env=self.env)
        return ["".join(o.text for o in cell.outputs) for cell in cells]


@pytest.fixture(scope="module")
def machine(older, fork, tmp_path_factory):
    """Where github.com is a folder of this machine."""
    folder = tmp_path_factory.mktemp("colab") / "machine"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    found = Machine(folder, {})
    ours = folder / "ours"
    ours.mkdir()
    for path in Path(site.getsitepackages()[0]).iterdir():
        if not path.name.startswith(("mae_lib", "__editable__")):
            (ours / path.name).symlink_to(path)
    (found.packages / "colab.pth").write_text(f"{older}\n{ours}\n")
    stand_in = found.packages / "google" / "colab"
    stand_in.mkdir(parents=True)
    (stand_in / "__init__.py").touch()
    spec = folder / "share/jupyter/kernels/colab/kernel.json"
    spec.parent.mkdir(parents=True)
    python = str(folder / "bin" / "python")
    command = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": command, "display_name": "Colab", "language": "python"}))
    local = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_VALUE_0": "https://github.com/",
             "GIT_CONFIG_KEY_0": f"url.{fork.parents[1].as_uri()}/.insteadOf"}
    found.env.update(os.environ, **local, PYTHONPATH="", PYDEVD_DISABLE_FILE_VALIDATION="1",
                     PIP_NO_INDEX="1", PIP_FIND_LINKS=str(WHEELS),  # and no other package
                     PIP_DISABLE_PIP_VERSION_CHECK="1",
                     MAE_LIB_LEVEL="smoke", CUDA_VISIBLE_DEVICES="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder / "share" / "jupyter"))
        yield found


VERSIONS = """
import IPython, ipykernel, ipywidgets, numpy, torch, torchvision
for module in (IPython, ipykernel, ipywidgets, numpy, torch, torchvision):
    print(module.__name__.lower(), module.__version__, module.__file__)
"""
ORIGIN = """
import mae_lib, importlib.metadata
print(mae_lib.__file__)
print(importlib.metadata.distribution("mae_lib").read_text("direct_url.json"))
"""


@pytest.mark.slow  # pip works on it for a minute
def test_every_setup_cell_installs_the_course_once_from_where_it_was_opened(fork, machine, service):
    colab_module = "import google.colab"
    git(fork, "branch", "--force", "spring/2026")
    service.answer = opened(page("jane-doe/mae", "spring/2026"))
    machine.env.update(service.env)
    prepared = list(setups(fork))
    assert len(set(prepared)) == 1, "each that differs would have to install on a fresh machine"
    broken = prepared[0].replace("jane-doe", "nobody")
    with pytest.raises(CellExecutionError) as stopped:
        machine.run(colab_module, broken)
    assert "mae_lib is not installed: on Colab, set REPO above" in str(stopped.value)
    assert not (machine.packages / "mae_lib").exists()

    every = [cell.replace('REPO = "jane-doe/mae"', 'REPO = ""') for cell in prepared]

    before, _, first, again, after, origin = machine.run(
        VERSIONS, colab_module, every[0], every[0], VERSIONS, ORIGIN)
    assert first.startswith("Installing only mae_lib, from github.com/jane-doe/mae@spring/2026:")
    ready = "".join(first.splitlines(keepends=True)[-2:])
    assert ready.startswith("Ready on cpu, run level smoke") and "course.start(drive=True)" in ready
    assert again == ready  # and nothing of pip
    assert after == before
    for name, version in OLDER.items():
        assert f"{name} {version} {FOLDER}" in before
    place, address = origin.splitlines()
    assert Path(place).is_relative_to(machine.packages)
    address = json.loads(address)
    assert address["url"] == "https://github.com/jane-doe/mae"
    assert address["vcs_info"]["commit_id"] == git(fork, "rev-parse", "HEAD")
    assert address["vcs_info"]["requested_revision"] == "spring/2026"

    cells = [cell for source in every for cell in (source, source)]  # after a restart
    asked = len(service.asked)
    assert machine.run(colab_module, *cells)[1:] == len(cells) * [again]
    assert len(service.asked) == asked
    whole = {path.relative_to(fork) for path in fork.glob("mae_lib/**/*") if path.is_file()}
    assert {path for path in whole if not same(fork / path, machine.packages / path)} == set()


def same(a, b):
    return b.is_file() and a.read_bytes() == b.read_bytes()
