"""The project's own files agree with each other, and the package keeps the promises they make."""

import ast
import graphlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest
import rattler
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
# What Google Colab had installed in late 2026. The course must run there without replacing any.
COLAB = {
    "torch": "2.11.0",
    "torchvision": "0.26.0",
    "numpy": "2.0.2",
    "ipywidgets": "7.7.1",
    "ipykernel": "6.17.1",
    "jupytext": "1.19.3",
}
# Names that differ between the Python packages, conda-forge and what one imports.
CONDA_NAMES = {"torch": "pytorch", "playwright": "playwright-python"}
IMPORT_NAMES = {
    "pillow": "PIL",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
    "py-rattler": "rattler",
    "pytest-xdist": "xdist",
    "pyyaml": "yaml",
    "math-core": "math_core",
}
# tomli is on Python 3.10 with pytest, which needs it there; lightly is timed where it is installed;
# build and colab are in tools/, the next five in site/; jupytext is made on nbformat, ipywidgets on
# traitlets, and nbconvert on both and on the others; jupyter_* come
# with JupyterLab, and the last two are here.
ALSO_IN_TESTS = {"tomli", "lightly", "benchmarks", "build", "colab", "build_site", "pages",
                 "players", "live", "export_onnx", "nbformat", "traitlets", "bs4", "jinja2",
                 "jupyterlab_pygments", "jupyter_client", "jupyter_server", "chromium",
                 "test_browser"}
BY_PIP = {"math-core"}  # also with conda
# From the top: a module imports only what stands further down, or in its own folder.
FLOORS = ("course", "evidence", "compare", "evaluate", "pretrain", "plots", "results", "training",
          "metrics", "losses", "config", "model", "masking", "patches", "data", "runtime")

MAX_CODE_LINES, MAX_MODULE_LINES = 3950, 300  # whoever adds code looks for some to take away


def requirements(lines):
    parsed = map(Requirement, lines)
    return {canonicalize_name(r.name): r for r in parsed}


CORE = requirements(PYPROJECT["project"]["dependencies"])
EXTRAS = {
    name: requirements(lines)
    for name, lines in PYPROJECT["project"]["optional-dependencies"].items()
}
DECLARED = CORE | {name: r for extra in EXTRAS.values() for name, r in extra.items()}


def lowest(specifiers):
    """The floor of `>=1.2` as a string; these files use no other kind of bound for packages."""
    (specifier,) = SpecifierSet(str(specifiers))
    assert specifier.operator == ">=", f"expected a floor, got {specifiers}"
    return specifier.version


def pins(python):
    """constraints.txt as read by one version of Python: {name: version}."""
    found = {}
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate(
                {"python_version": python, "python_full_version": f"{python}.9"}):
            continue
        name = canonicalize_name(requirement.name)
        assert name not in found, f"{name} is pinned twice for Python {python}"
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", line
        found[name] = specifier.version
    return found


def conda_specs():
    return [d for d in ENVIRONMENT["dependencies"] if isinstance(d, str)]


# --- dependencies -------------------------------------------------------------------------------


@pytest.mark.parametrize("python", PYTHONS)
def test_constraints_pin_every_dependency_within_its_range(python):
    versions = pins(python)
    for name, requirement in DECLARED.items():
        assert name in versions, f"constraints.txt has no {name} for Python {python}"
        assert requirement.specifier.contains(versions[name]), f"{name} {versions[name]}"


@pytest.mark.parametrize("python", PYTHONS)
def test_python_is_allowed_everywhere(python):
    assert SpecifierSet(PYPROJECT["project"]["requires-python"]).contains(python)
    (spec,) = (s for s in conda_specs() if s.split()[0] == "python")
    assert SpecifierSet(spec.split()[1]).contains(python)
    assert f"Programming Language :: Python :: {python}" in PYPROJECT["project"]["classifiers"]


def test_later_pythons_are_not_forbidden():
    assert SpecifierSet(PYPROJECT["project"]["requires-python"]).contains("3.99")


@pytest.mark.parametrize("name", sorted(COLAB))
def test_colab_satisfies_the_floors(name):
    assert DECLARED[name].specifier.contains(COLAB[name])


def test_the_extras_have_no_dependency_of_the_core_again():
    for extra in EXTRAS.values():
        assert not set(extra) & set(CORE)


def test_conda_environment_has_the_same_packages_and_floors():
    wanted = {CONDA_NAMES.get(name, name): lowest(r.specifier) for name, r in DECLARED.items()
              if name not in BY_PIP}
    specs = dict(spec.split(maxsplit=1) for spec in conda_specs() if " " in spec)
    del specs["python"]
    assert {name: lowest(spec) for name, spec in specs.items()} == wanted
    assert ENVIRONMENT["channels"] == ["conda-forge"]
    assert ENVIRONMENT["dependencies"][-1] == {"pip": ["-e .[site]"]} and "pip" in conda_specs()


@pytest.mark.parametrize("spec", conda_specs())
def test_conda_specs_parse(spec):
    assert str(rattler.MatchSpec(spec, strict=True).name.normalized) == spec.split()[0]


# --- imports ------------------------------------------------------------------------------------


def imported_modules(path):
    """First parts of the names of all modules that a file imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def for_notebooks(path):
    return path.relative_to(ROOT / "mae_lib").parts[0] == "course"


def imports_within(path):
    """Names of the modules of mae_lib that a file imports, such as "data.cache"."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "mae_lib":
            parts = [[*node.module.split(".")[1:], alias.name] for alias in node.names]
            # The last part is a module, or something in one.
            names |= {".".join(part) if module_file(part) else ".".join(part[:-1])
                      for part in parts}
    return names


def module_file(parts):
    path = (ROOT / "mae_lib").joinpath(*parts)
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.exists()), None)


def undeclared(path, dependencies):
    allowed = {IMPORT_NAMES.get(name, name) for name in dependencies}
    folder = path.relative_to(ROOT).parts[0]
    siblings = {p.stem for p in (ROOT / folder).rglob("*.py")} if folder != "mae_lib" else set()
    return imported_modules(path) - allowed - siblings - set(sys.stdlib_module_names) - {"mae_lib"}


@pytest.mark.parametrize("path", sorted((ROOT / "mae_lib").rglob("*.py")), ids=lambda p: p.name)
def test_the_package_imports_only_what_it_declares(path):
    allowed = CORE
    if for_notebooks(path):  # IPython comes with ipykernel
        allowed = {**CORE, **EXTRAS["course"], "IPython": None}
    assert not undeclared(path, allowed)


@pytest.mark.parametrize("folder", ["tests", "benchmarks", "site", "tools"])
def test_what_is_around_the_package_imports_only_what_is_declared(folder):
    for path in sorted((ROOT / folder).rglob("*.py")):
        assert not undeclared(path, {*DECLARED, "IPython", *ALSO_IN_TESTS}), path.name


def test_training_needs_nothing_of_jupyter():
    code = "import sys, mae_lib.pretrain, mae_lib.compare; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert not {"ipywidgets", "jupytext", "IPython"} & set(result.stdout.split())


MODULES = {".".join(path.relative_to(ROOT / "mae_lib").with_suffix("").parts): path
           for path in sorted((ROOT / "mae_lib").rglob("*.py"))}


@pytest.mark.parametrize("name", sorted(MODULES.keys() - {"__init__"}))
def test_no_import_runs_upwards(name):
    floor = FLOORS.index(name.split(".")[0])
    upwards = {other for other in imports_within(MODULES[name])
               if FLOORS.index(other.split(".")[0]) < floor}
    assert not upwards, f"mae_lib.{name} imports {', '.join(sorted(upwards))} from above"


def test_no_imports_run_in_a_circle():
    graph = {name: imports_within(path) & MODULES.keys() for name, path in MODULES.items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


# --- the notebooks' pairs -------------------------------------------------------------------------


@pytest.mark.parametrize("words, broken, said", [
    (["99"], None, "There is no notebook 99: the numbers are 00, 01."),
    (["1", "00", "07"], None, "There is no notebook 07, 1: the numbers are 00, 01."),
    (["01"], "py/01_b.py", "notebooks/py/01_b.py has a merge conflict on line 2: keep one side"),
    (["--sync"], "01_b.ipynb", "notebooks/01_b.ipynb has a merge conflict on line 2: keep one "),
])
def test_a_notebook_that_cannot_be_built_is_named(words, broken, said, tmp_path, monkeypatch):
    """Before any other is run, which takes minutes."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    import build

    (tmp_path / "py").mkdir()
    for name in ("py/00_a.py", "py/01_b.py", "00_a.ipynb", "01_b.ipynb"):
        (tmp_path / name).write_text("1\n<<<<<<< HEAD\n2\n" if name == broken else "# %%\n1\n")
    monkeypatch.setattr(build, "HERE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["build.py", *words])
    with pytest.raises(SystemExit) as stopped:
        build.main()
    assert stopped.value.code.startswith(said)


def test_a_lesson_that_is_not_there_leaves_an_earlier_site_alone(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "site")
    import build_site

    (tmp_path / "search.js").write_text("an earlier site")
    with pytest.raises(SystemExit, match=r"^There is no notebook 9: the numbers are 00, 01, "):
        build_site.build(tmp_path, ["00", "9"], with_players=False)
    assert (tmp_path / "search.js").read_text() == "an earlier site"


# --- size and tidiness --------------------------------------------------------------------------


def code_lines_of(path):
    """Lines without the blank ones, the comments and the docstrings, which nobody should spare."""
    source, lines = path.read_text("utf-8"), set()
    layout = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in (*layout, tokenize.ENDMARKER):
            lines |= set(range(token.start[0], token.end[0] + 1))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, documented) and ast.get_docstring(node):
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


@pytest.mark.parametrize("path", sorted((ROOT / "mae_lib").rglob("*.py")), ids=lambda p: p.name)
def test_a_module_can_be_read_in_one_sitting(path):
    assert code_lines_of(path) <= MAX_MODULE_LINES


def test_the_package_stays_small():
    modules = (p for p in (ROOT / "mae_lib").rglob("*.py") if not for_notebooks(p))
    assert sum(map(code_lines_of, modules)) <= MAX_CODE_LINES


def git(*words):
    """What git says in this checkout, whoever owns it."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(["git", "-c", "safe.directory=*", *words], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tracked_files():
    """Files in git, and new ones that git does not ignore."""
    out = git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return [ROOT / name for name in out.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_names_a_place_on_somebodys_machine():
    places = re.compile(rb"(?<![\w.~}/])/(home|root|Users|mnt|work)/[A-Za-z0-9_.-]+")
    pictures = {".png", ".jpg", ".gif", ".webp", ".safetensors", ".pdf"}
    for path in tracked_files():
        if path.suffix not in pictures and path != Path(__file__).resolve():
            found = places.search(path.read_bytes())
            assert not found, f"{path.relative_to(ROOT)}: {found.group().decode()}"


def test_environments_and_results_stay_out_of_git():
    names = [".venv/x", "runs/a/model.safetensors", "model.pt", "mae_lib/__pycache__/a.pyc",
             "notebooks/my_mae/earlier/MAE-0123.py"]
    assert git("check-ignore", *names).split() == names


def test_the_version_is_told_once_and_the_same():
    source = (ROOT / "mae_lib" / "__init__.py").read_text("utf-8")
    version = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    assert version and version.group(1) == PYPROJECT["project"]["version"]


# --- Makefile and .ci/run -----------------------------------------------------------------------

TARGETS = ["help", "compare", "test", "lab", "notebooks", "site", "report", "colab", "lint",
           "constraints", "clean"]
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments, cwd=ROOT, path=None):
    # Where these tests are run by make, its own variables are in the environment.
    env = {k: v for k, v in os.environ.items()
           if not k.startswith(("MAKE", "MFLAGS")) and k not in ("TORCH", "KEPT", "PYTHON", "ARGS")}
    env["PATH"] = path or env["PATH"]
    command = [shutil.which("make"), *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


@needs_make
def test_make_help_lists_every_target():
    result = make()
    assert result.returncode == 0, result.stderr
    assert re.findall(r"^  (\w+) ", result.stdout, re.MULTILINE) == TARGETS


@needs_make
@pytest.mark.parametrize("target", TARGETS)
def test_make_knows_the_target(target):
    result = make("-n", target)
    assert result.returncode == 0, result.stderr


@needs_make
def test_make_passes_arguments_on():
    assert "mae_lib.compare --seeds 0 1" in make("-n", "compare", "ARGS=--seeds 0 1").stdout


@pytest.fixture
def checkout(tmp_path):
    """A checkout with nothing installed, in a folder whose name has a space, and a PATH for it."""
    root, tools = tmp_path / "a checkout", tmp_path / "bin"
    root.mkdir()
    tools.mkdir()
    for name in ["Makefile", "pyproject.toml", "constraints.txt"]:
        shutil.copy(ROOT / name, root)
    for name in ["sh", "cat", "touch", "date", "sleep", "sort", "sed", "head", "rm", "tr"]:
        if shutil.which(name):
            (tools / name).symlink_to(shutil.which(name))
    return root, tools


def fake_python(path, script):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{shutil.which('sh')}\n{script}\n")
    path.chmod(0o755)


@needs_make
def test_make_says_what_to_do_without_python(checkout):
    root, tools = checkout
    result = make("compare", cwd=root, path=str(tools))
    assert result.returncode != 0
    assert "Python 3.10 or newer" in result.stderr and "none runs here" in result.stderr
    assert not (root / ".venv").exists()


@needs_make
def test_make_says_that_python_is_too_old(checkout):
    root, tools = checkout
    script = 'case "$2" in *print*) echo 3.8;; *) exit 1;; esac'
    fake_python(tools / "python3", script)
    result = make("compare", cwd=root, path=str(tools))
    assert result.returncode != 0 and "is Python 3.8: too old" in result.stderr


@needs_make
def test_make_says_how_to_get_the_venv_module(checkout):
    root, tools = checkout
    script = 'case "$2" in *print*) echo 3.12;; *venv*) exit 1;; esac'
    fake_python(tools / "python3.12", script)
    result = make("compare", cwd=root, path=str(tools))
    assert result.returncode != 0 and "apt install python3.12-venv" in result.stderr


def fake_installation(root):
    """A .venv whose Python records how it is called, and installs nothing."""
    calls = root / "calls.txt"
    fake_python(root / ".venv" / "bin" / "python", f'echo "$*" >> "{calls}"')

    def installations():
        lines = calls.read_text("utf-8").splitlines() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return [line for line in lines if "install" in line and " -e ." in line]

    return installations


@needs_make
def test_make_installs_once_and_the_wider_serves_the_narrower(checkout):
    root, tools = checkout
    installations = fake_installation(root)
    result = make("compare", cwd=root, path=str(tools))
    assert result.returncode == 0, result.stderr
    (line,) = installations()
    assert line.startswith("-m uv pip install") and line.endswith("-c constraints.txt -e .")

    assert make("lint", cwd=root, path=str(tools)).returncode == 0
    (line,) = installations()
    assert line.endswith("-c constraints.txt -e .[course,site,test]")

    for target in ["compare", "site", "lint"]:
        assert make(target, cwd=root, path=str(tools)).returncode == 0
        assert not installations(), target

    # A change to what is needed, or a moved checkout, installs again.
    later = (root / ".venv" / ".test").stat().st_mtime + 10
    os.utime(root / "constraints.txt", (later, later))
    assert make("compare", cwd=root, path=str(tools)).returncode == 0
    assert len(installations()) == 1


@needs_make
def test_make_tells_uv_where_pip_looks(checkout):
    root, tools = checkout
    settings = {"global.index-url": "https://a.example/simple", "global.cert": "other.pem",
                ":env:.cert": "ca.pem", "global.find-links": "\\nhere\\nthere",
                "install.extra-index-url": "https://b.example https://c.example"}
    said = "\n".join(f"{name}='{value}'" for name, value in settings.items())
    (root / "said.txt").write_text(said + "\n", "utf-8")
    (tools / "env").symlink_to(shutil.which("env"))
    (tools / "printenv").symlink_to(shutil.which("printenv"))
    fake_python(root / ".venv" / "bin" / "python", 'case "$*" in *"config list") cat said.txt;; '
                '*"uv pip install"*) env > env.txt;; esac')
    assert make("compare", cwd=root, path=str(tools)).returncode == 0
    seen = dict(line.split("=", 1) for line in (root / "env.txt").read_text("utf-8").splitlines()
                if line.startswith(("UV_", "SSL_")))
    wanted = {"UV_DEFAULT_INDEX": "https://a.example/simple", "UV_FIND_LINKS": "here,there",
              "UV_INDEX": "https://b.example https://c.example", "SSL_CERT_FILE": "ca.pem",
              "UV_INDEX_STRATEGY": "unsafe-best-match"}
    for name in wanted.keys() - os.environ.keys():
        assert seen[name] == wanted[name]


@needs_make
@pytest.mark.parametrize("fails, said", [
    ("pip install*uv==", "uv could not be installed"), ("uv pip install", "trying pip")])
def test_make_does_with_pip_where_uv_fails(checkout, fails, said):
    root, tools = checkout
    installations = fake_installation(root)
    python = root / ".venv" / "bin" / "python"
    fails = fails.replace("*", '"*"')
    python.write_text(python.read_text("utf-8") + f'case "$*" in *"{fails}"*) exit 1;; esac\n')
    result = make("compare", cwd=root, path=str(tools))
    assert result.returncode == 0 and said in result.stdout
    line = installations()[-1]
    assert line.startswith("-m pip install") and line.endswith("-c constraints.txt -e .")


@needs_make
def test_make_keeps_to_the_builds_of_torch_that_were_chosen(checkout):
    root, tools = checkout
    installations = fake_installation(root)
    for arguments, installs in [(["lint"], True), (["lint", "TORCH=cpu"], True),
                                (["compare"], False), (["lint", "TORCH=cpu"], False),
                                (["lint", "TORCH="], True), (["compare"], False)]:
        assert make(*arguments, cwd=root, path=str(tools)).returncode == 0
        lines = installations()
        assert bool(lines) == installs, arguments
        assert all(("--torch-backend cpu" in line) == ("TORCH=cpu" in arguments) for line in lines)

    fake_python(root / ".venv" / "bin" / "python", 'case "$*" in *urlopen*) exit 1;; esac')
    result = make("lint", "TORCH=cpu", cwd=root, path=str(tools))
    assert result.returncode != 0
    assert "download.pytorch.org/whl/cpu does not answer" in result.stderr
    assert make("lint", cwd=root, path=str(tools)).returncode == 0  # as it was before


@needs_make
def test_an_installation_that_broke_off_keeps_to_the_builds_that_were_chosen(checkout):
    root, tools = checkout
    installations = fake_installation(root)
    python = root / ".venv" / "bin" / "python"
    works = python.read_text("utf-8")
    python.write_text(works + 'case "$*" in *constraints.txt*) exit 1;; esac\n')
    assert make("lint", "TORCH=cpu", cwd=root, path=str(tools)).returncode != 0
    assert ["--extra-index-url" in line for line in installations()] == [False, True]  # uv, pip
    python.write_text(works)
    assert make("lint", cwd=root, path=str(tools)).returncode == 0
    assert all("--torch-backend cpu" in line for line in installations())


@needs_make
@pytest.mark.parametrize("words, asked", [((), False), (("REPO=",), True), (("REPO=a/b",), True)])
def test_make_colab_takes_badges_out_only_if_asked(words, asked):
    assert ('"$REPO"' in make("-n", "colab", *words).stdout) == asked


@needs_make
def test_make_installs_again_in_a_moved_checkout(checkout):
    root, tools = checkout
    installations = fake_installation(root)
    assert make("lint", cwd=root, path=str(tools)).returncode == 0
    assert len(installations()) == 1
    moved = root.with_name("moved here")
    root.rename(moved)
    root.mkdir()  # where the fake Python writes
    assert make("lint", cwd=moved, path=str(tools)).returncode == 0
    assert len(installations()) == 1
    assert (moved / ".venv" / ".path").read_text("utf-8").strip() == str(moved.resolve())


@needs_make
def test_a_failed_installation_is_taken_up_again(checkout):
    root, tools = checkout
    fails = 'case "$*" in *" install "*) exit 7;; esac'
    fake_python(root / ".venv" / "bin" / "python", fails)
    for _ in range(2):
        assert make("compare", cwd=root, path=str(tools)).returncode != 0
        assert not (root / ".venv" / ".core").exists()


@needs_make
def test_make_test_runs_every_part_and_fails_if_one_fails(checkout):
    root, tools = checkout
    (root / "notebooks").mkdir()
    (root / "notebooks" / "00_start.ipynb").touch()
    (tools / "ls").symlink_to(shutil.which("ls"))
    calls = root / "calls.txt"
    for part in ["ruff check", "pytest tests", "pytest notebooks", "nothing"]:
        script = f'echo "$*" >> "{calls}"; case "$*" in *"{part}"*) exit 1;; esac'
        fake_python(root / ".venv" / "bin" / "python", script)
        result = make("test", cwd=root, path=str(tools))
        assert (result.returncode == 0) == (part == "nothing"), result.stderr
        said = calls.read_text("utf-8")
        calls.unlink()
        assert "ruff check" in said and "pytest tests" in said and "notebooks --nbval" in said


def test_ci_runs_make_test_and_then_solves_the_course():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    first, then = script.read_text("utf-8").replace("\\\n", "").splitlines()[-2:]
    assert first == "make test"
    files = [word for word in shlex.split(then) if word.startswith("tests/")]
    assert "-m slow" in then and "tests/course/test_solved.py" in files
    assert all((ROOT / file.split("::")[0]).is_file() for file in files)
    if shutil.which("bash"):
        assert subprocess.run(["bash", "-n", str(script)]).returncode == 0


def test_the_example_of_the_usage_page_runs():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "USAGE.md").read_text("utf-8"), re.DOTALL)
    space = {}
    exec(code, space)
    assert space["features"].shape == (5, 192)
    pictures, photographs = space["pictures"], space["course"].photographs() / 255
    apart = (pictures - photographs).abs().amax(dim=1) > 1e-3
    assert 0.5 < apart.float().mean() <= 0.75  # only hidden pixels differ
