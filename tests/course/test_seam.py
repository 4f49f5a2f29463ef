"""What the learner builds is kept, used from then on, and never lost."""

import _thread
import builtins
import functools
import importlib
import linecache
import os
import shutil
import subprocess
import sys
import threading
import types
from pathlib import Path
from xml.etree import ElementTree

import nbclient
import nbformat
import pytest
import torch
from slips import slip

from mae_lib import course, losses, masking, metrics, patches
from mae_lib import model as package
from mae_lib.config import PretrainConfig
from mae_lib.course import exercises, parts, reference, seam
from mae_lib.course.parts import GIVEN, PARTS
from mae_lib.evaluate import fit_logistic, knn_predict
from mae_lib.training import optim
from mae_lib.training.checkpoints import load_shipped

ROOT = Path(__file__).resolve().parents[2]
SOLUTIONS = {name: (Path(__file__).parent / "solutions" / f"{name}.py").read_text("utf-8")
             for name in PARTS}
BROKEN = "def patchify(images, patch_size):\n    return images * undefined_name\n"


def run_cell(source, space=None, _count=[0]):  # noqa: B006
    """Run a cell as IPython does, which keeps its source for tracebacks."""
    _count[0] += 1
    file = f"<ipython-input-{_count[0]}-test>"
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    space = {**GIVEN} if space is None else space
    exec(compile(source, file, "exec"), space)
    return space


def solve(name, source=None, space=None):
    """Type an answer, run its check."""
    space = run_cell(source or SOLUTIONS[name], space)
    PARTS[name].check(space[name])


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    """A folder in which every exercise is solved, in order, and what the checks said."""
    folder = tmp_path_factory.mktemp("solved") / "my_mae"
    before, os.environ["MAE_LIB_MY_MAE"] = os.environ["MAE_LIB_MY_MAE"], str(folder)
    try:
        space = dict(GIVEN)
        for name in PARTS:
            solve(name, space=space)
    finally:
        os.environ["MAE_LIB_MY_MAE"] = before
    return folder


@pytest.fixture
def mine(solved, parts_of_this_test):
    """A copy of the solved folder, for one test."""
    shutil.copytree(solved, parts_of_this_test)
    return parts_of_this_test


# ---------------------------------------------------------------- all solved


def test_every_solution_passes_and_no_fallback_is_used(mine, capsys):
    assert sorted(path.stem for path in mine.glob("*.py")) == sorted(PARTS)
    values = course.use(*PARTS)
    said = capsys.readouterr().out
    assert said == f"Using your {', '.join(PARTS)}.\n"
    files = {seam.code_of(value).co_filename for value in values}
    assert files == {str(mine / f"{name}.py") for name in PARTS}


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, 224, 224, generator=generator)
    return images, torch.rand(4, 196, generator=generator)


def compare_with_the_package(space, batch, name):
    """MAE and mae_loss of a namespace against the package's, with shipped weights."""
    theirs, facts = load_shipped(name)
    images, noise = batch
    sizes, weights = course.shipped_weights(name)
    model = space["MAE"](**sizes)
    assert str(model.load_state_dict(weights, strict=True)) == "<All keys matched successfully>"
    with torch.no_grad():
        right = theirs(images, 0.75, noise=noise)
        pred, mask, latent = model(images, 0.75, noise)
    torch.testing.assert_close(pred, right.pred, rtol=0, atol=1e-4)
    torch.testing.assert_close(latent, right.latent, rtol=0, atol=1e-4)
    assert torch.equal(mask, right.mask)
    arguments = right.pred, images, right.mask, theirs.patch_size
    assert torch.equal(space["mae_loss"](*arguments, False), losses.mae_loss(*arguments, False))
    torch.testing.assert_close(space["mae_loss"](*arguments, facts["norm_pix"]),
                               losses.mae_loss(*arguments, facts["norm_pix"]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["original", "improved"])
def test_their_model_takes_the_shipped_weights_and_does_the_same(mine, batch, name):
    MAE, mae_loss = course.use("MAE", "mae_loss")
    compare_with_the_package({"MAE": MAE, "mae_loss": mae_loss}, batch, name)


def test_the_assembled_file_is_theirs_and_runs_without_the_package(mine, tmp_path, batch, capsys):
    path = course.assemble(tmp_path / "all.py")
    assert f"{len(PARTS)} of {len(PARTS)} parts your own" in capsys.readouterr().out
    text = path.read_text("utf-8")
    assert "the package's" not in text and "mae_lib" not in text
    assert len(text.splitlines()) < 420
    command = [sys.executable, "-c", "import sys; sys.modules['mae_lib'] = None; import runpy; "
               "runpy.run_path('all.py', run_name='__main__')"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0 and "(2, 196, 768)" in result.stdout, result.stderr
    space = {"__name__": "all"}
    exec(compile(text, "all.py", "exec"), space)
    compare_with_the_package(space, batch, "original")
    shipped = load_shipped("original")[0].state_dict()
    there_and_back = space["to_official"](space["from_official"](shipped))
    assert there_and_back.keys() == shipped.keys()
    assert space["from_official"](shipped).keys() == course.shipped_weights()[1].keys()


def test_their_run_of_training_learns(mine):
    MAE, train, groups = course.use("MAE", "train", "parameter_groups")
    torch.manual_seed(0)
    model = MAE(12, 3, 16, 1, 2, 16, 1, 2)
    images = torch.randn(8, 3, 12, 12)
    cfg = PretrainConfig(epochs=10, warmup_epochs=1, lr=3e-3, lambda_freq=0.05, lambda_unif=0.01,
                         norm_pix=False, precision="fp32")
    optimizer = torch.optim.AdamW(groups(model, 0.05), betas=optim.BETAS)
    found = train(model, optimizer, lambda step: images, 4, cfg)
    assert found.shape == (40,) and found[-5:].mean() < found[:5].mean() - 0.1


# ---------------------------------------------------------------- the package's version


def test_every_part_has_a_check_and_a_counterpart():
    for name, part in PARTS.items():
        assert part.check.__name__ == name
        module, *rest = part.counterpart.split(".")
        found = importlib.import_module(f"mae_lib.{module}")
        for attribute in rest:
            if isinstance(found, types.ModuleType) and not hasattr(found, attribute):
                importlib.import_module(f"{found.__name__}.{attribute}")
            found = getattr(found, attribute)
        assert callable(found)
        assert list((ROOT / "notebooks").glob(f"{part.notebook}.ipynb"))


def test_stand_ins_are_the_reference_and_bring_their_helpers():
    assert [name for name in vars(reference) if name in PARTS] == list(PARTS)
    assert "class Mlp" in parts.stand_in("Block")[1]
    assert "class Mlp" not in parts.stand_in("Encoder")[1]


def test_the_reference_does_what_the_package_does():
    torch.manual_seed(0)
    x, noise = torch.randn(3, 16, 27), torch.rand(3, 16)
    for found, right in zip(reference.random_masking(x, 0.7, noise),
                            masking.random_masking(x, 0.7, noise), strict=True):
        assert torch.equal(found, right)
    assert torch.equal(reference.sincos_positions(24, 3, 5),
                       patches.sincos_position_embedding(24, (3, 5)))
    images = torch.randn(3, 3, 12, 12)
    assert torch.equal(reference.patchify(images, 3), patches.patchify(images, 3))
    assert torch.equal(reference.unpatchify(x, 3, 4, 4), patches.unpatchify(x, 3))
    model = package.MaskedAutoencoder(12, 3, 16, 2, 2, 16, 2, 4)
    theirs = reference.MAE(12, 3, 16, 2, 2, 16, 2, 4)
    theirs.load_state_dict(reference.from_official(model.state_dict()))
    right = model(images, 0.5, noise=noise)
    torch.testing.assert_close(theirs(images, 0.5, noise)[0], right.pred)
    for sched in ("const", "linear", "cosine"):
        cfg = PretrainConfig(mask_ratio_sched=sched, mask_ratio_start=0.03, mask_ratio=0.42)
        for at in ((0, 0), (1, 3), (4, 7), (9, 0)):
            ratio = reference.schedule_mask_ratio(*at, 8, cfg)
            assert ratio == masking.schedule_mask_ratio(*at, 8, cfg)  # without any rounding
            assert reference.schedule_learning_rate(*at, 8, cfg) == pytest.approx(
                optim.schedule_learning_rate(*at, 8, cfg))
        for norm_pix in (False, True):
            cfg = PretrainConfig(norm_pix=norm_pix, lambda_freq=0.05, lambda_unif=0.01)
            torch.testing.assert_close(
                reference.total_loss(right.pred, images, right.mask, right.latent, 3, cfg),
                losses.total_loss(model, right, cfg)["loss"])
    decaying = [{id(p) for g in groups if g["weight_decay"] for p in g["params"]}
                for groups in (reference.parameter_groups(model, 0.05),
                               optim.parameter_groups(model, 0.05))]
    assert decaying[0] == decaying[1] and decaying[0]
    a, b, labels = torch.randn(30, 5), torch.randn(10, 5), torch.arange(30) % 3
    assert torch.equal(reference.knn_predict(a, labels, b, 5, 3),
                       knn_predict(a, labels, b, 5, 3))
    weight, _ = reference.fit_probe(a, labels, 3, 0.1)
    torch.testing.assert_close(weight, fit_logistic(a, labels, 3, 0.1)[:-1], atol=1e-3, rtol=1e-3)
    assert metrics.effective_rank(reference.extract_features(theirs.encoder, images)) > 1


def test_any_mixture_of_theirs_and_the_packages_works(mine, capsys):
    for name in ("Attention", "random_masking"):
        course.reset(name)
    capsys.readouterr()
    MAE = course.use("MAE")
    said = capsys.readouterr().out
    assert said == ("Using your sincos_positions, Block, Encoder, Decoder, MAE; the package's "
                    "random_masking, Attention.\n")
    assert MAE(12, 3, 8, 1, 2, 8, 1, 2)(torch.randn(2, 3, 12, 12))[0].shape == (2, 16, 27)
    course.reset("MAE")
    capsys.readouterr()
    course.use("MAE")
    assert "the package's random_masking, Attention, MAE." in capsys.readouterr().out


# ---------------------------------------------------------------- keeping


def test_what_passes_is_kept_and_used_and_what_fails_is_not(parts_of_this_test, capsys):
    folder = parts_of_this_test
    patchify = course.use("patchify")
    assert capsys.readouterr().out == "Using the package's patchify.\n"
    solve("patchify", slip("patchify", ("0, 2, 4, 3, 5, 1", "0, 2, 4, 1, 3, 5")))
    assert capsys.readouterr().out.startswith("✗") and not folder.exists()
    solve("patchify")
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("✓ Right") and said[1].startswith(f"Kept in {folder}")
    theirs = course.use("patchify")
    assert capsys.readouterr().out == "Using your patchify.\n" and theirs is not patchify
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(theirs(images, 4), patchify(images, 4))
    text = (folder / "patchify.py").read_text("utf-8")
    assert text.endswith(SOLUTIONS["patchify"]) and "# stamp: check 1, source " in text


def test_one_source_gives_one_class(mine):
    Block, Attention = course.use("Block", "Attention")
    assert course.use("Block") is Block
    assert isinstance(Block(8, 2).attn, Attention)


def test_the_packages_version_is_not_taken_for_theirs(parts_of_this_test, capsys):
    """As when the check runs again after the cell that says use("patchify")."""
    for answer in (course.use("patchify"), patches.patchify, reference.patchify):
        capsys.readouterr()
        PARTS["patchify"].check(answer)
        assert capsys.readouterr().out.startswith("○ This is the package's patchify")
    assert not parts_of_this_test.exists()


def test_checking_a_kept_part_again_changes_nothing(mine, capsys):
    before = {path: path.read_bytes() for path in mine.rglob("*.py")}
    PARTS["Block"].check(course.use("Block"))
    assert "✓" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in mine.rglob("*.py")} == before


CELL = '''import math as maths
import torch.nn.functional as func
from functools import wraps

print("looking at it:", patchify_me)
HALF = 2

# Splits one axis in two.
def split(size, patch):
    return size // patch, patch

def plain(function):
    @wraps(function)
    def inner(*arguments):
        return function(*arguments)
    return inner

def patchify(images, patch_size):
    return None

@plain
def patchify(images, patch_size):
    rows, p = split(images.shape[HALF], patch_size)
    cols, _ = split(images.shape[3], patch_size)
    x = images.reshape(len(images), -1, rows, p, cols, p).permute(0, 2, 4, 3, 5, 1)
    return x.reshape(len(images), rows * cols, int(maths.prod(x.shape[3:])))

print(patchify(patchify_me, 2).shape)
'''


def test_only_what_the_answer_needs_is_kept(parts_of_this_test, capsys):
    space = {**GIVEN, "patchify_me": torch.rand(1, 3, 4, 4)}
    run_cell(CELL, space)
    PARTS["patchify"].check(space["patchify"])
    assert "Kept in" in capsys.readouterr().out
    text = (parts_of_this_test / "patchify.py").read_text("utf-8")
    for kept in ("import math as maths", "from functools import wraps", "HALF = 2",
                 "# Splits one axis in two.\ndef split", "@plain\ndef patchify"):
        assert kept in text, kept
    for left in ("print(", "as func", "return None"):
        assert left not in text, left
    course.use("patchify")
    assert capsys.readouterr().out == "Using your patchify.\n"


P = "def patchify(images, p):\n    {}\n    return patches_of(images, p)\n"
HELPER = SOLUTIONS["patchify"].replace("def patchify", "def patches_of")


@pytest.mark.parametrize("cell", [
    SOLUTIONS["patchify"] + "\n\npatchify = torch.compiler.disable(patchify)\n",
    f"FIRST = 0\nFIRST += 1\n\n{HELPER}\n\n{P.format('assert FIRST == 1')}"])
def test_what_a_later_line_wraps_or_changes_is_kept_whole(cell, parts_of_this_test, capsys):
    space = {**GIVEN}
    run_cell(cell, space)
    PARTS["patchify"].check(space["patchify"])
    assert "Kept in" in capsys.readouterr().out


@pytest.mark.parametrize("cell, reason", [
    (P.format("0"), "it uses patches_of, which its cell does not define"),
    (f"{HELPER}\n\n{P.format('import einops')}", "it imports einops"),
    (f"from mae_lib.patches import patchify as patches_of\n\n{P.format('0')}",
     "it imports mae_lib.patches"),
    (f"{HELPER}\n\n{P.format('MAE')}", "it uses MAE, which"),
    (f"{HELPER}\n\npatch = patches_of\n", "has no def or class patchify"),
    (f"{HELPER}\n\ntable = {{}}\ntable['x'] = patches_of\ndef patchify(images, p):\n"
     "    return table['x'](images, p)\n", "it no longer passes (KeyError: 'x')"),
    (f"{HELPER}\n\n{P.format('display(p)')}", "it uses display, which its cell does not define"),
])
def test_what_cannot_stand_alone_is_refused_with_the_reason(
    cell, reason, parts_of_this_test, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "einops", types.ModuleType("einops"))
    monkeypatch.setattr(builtins, "display", id, raising=False)  # as in a notebook
    space = run_cell(HELPER)  # an earlier cell
    run_cell(cell, {**space, "MAE": None} if "MAE" in cell else space)
    last = run_cell(cell, {**space, "MAE": None})
    PARTS["patchify"].check(last.get("patchify") or last["patch"])
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("✓") and said[1].startswith("Not kept") and reason in said[1]
    assert len(said) == 2 and not parts_of_this_test.exists()


def test_what_has_no_source_is_refused(parts_of_this_test, capsys):
    space = dict(GIVEN)
    exec(SOLUTIONS["patchify"], space)
    for answer in (space["patchify"], functools.partial(space["patchify"])):
        PARTS["patchify"].check(answer)
        assert "Not kept" in capsys.readouterr().out
    assert not parts_of_this_test.exists()


def test_a_folder_that_cannot_be_written_is_said(parts_of_this_test, capsys):
    parts_of_this_test.write_text("a file where the folder should be")
    solve("patchify")
    said = capsys.readouterr().out
    assert "✓" in said and "Not kept" in said and "cannot be written" in said


# ---------------------------------------------------------------- nothing is lost


def versions(folder, name="patchify"):
    return {path.read_text("utf-8") for path in (folder / "earlier").glob(f"{name}-*.py")}


def test_an_earlier_part_at_fault_is_named(parts_of_this_test, capsys):
    """The check uses the notebook's parts, the kept file those that were kept."""
    wrong = SOLUTIONS["patchify"].replace("0, 2, 4, 3, 5, 1", "0, 2, 4, 1, 3, 5")
    seam.write(seam.path_of("patchify"), seam._stamped(PARTS["patchify"], wrong).encode())
    solve("mae_loss", space={**GIVEN, "patchify": reference.patchify})
    said = capsys.readouterr().out
    assert "Not kept" in said and "It was read with your patchify: if this notebook has" in said


def test_a_better_version_keeps_the_one_before(parts_of_this_test):
    folder = parts_of_this_test
    solve("patchify")
    first = (folder / "patchify.py").read_text("utf-8")
    solve("patchify", "# Version 2.\n" + SOLUTIONS["patchify"])
    second = (folder / "patchify.py").read_text("utf-8")
    assert "# Version 2." in second and {first, second} <= versions(folder)


def test_two_notebooks_may_keep_at_once(parts_of_this_test, capsys):
    folder, count = parts_of_this_test, 8
    answers = [run_cell(f"# Tab {i}.\n{SOLUTIONS['patchify']}")["patchify"] for i in range(count)]
    test = PARTS["patchify"].check.__wrapped__
    tabs = [threading.Thread(target=seam.keep, args=("patchify", answer, test))
            for answer in answers]
    for tab in tabs:
        tab.start()
    for tab in tabs:
        tab.join()
    assert seam.read("patchify")[0] in versions(folder)
    assert len(versions(folder)) == count  # and all of them are there
    assert not list(folder.rglob("*.tmp"))


def test_reset_sets_aside_and_loses_nothing(mine, capsys):
    before = (mine / "patchify.py").read_text("utf-8")
    course.reset("patchify")
    said = capsys.readouterr().out
    assert "Your patchify is now in" in said and not (mine / "patchify.py").exists()
    assert before in versions(mine)
    course.use("patchify")
    assert capsys.readouterr().out == "Using the package's patchify.\n"
    course.reset("patchify")
    assert "There is no" in capsys.readouterr().out
    place = Path(said.split(" is now in ")[1].split(". Run")[0])
    place.rename(mine / "patchify.py")
    course.use("patchify")
    assert capsys.readouterr().out == "Using your patchify.\n"


def test_the_name_of_no_part_is_explained():
    for action in (course.use, course.reset, course.recheck):
        with pytest.raises(ValueError, match="did you mean 'patchify'"):
            action("patchfy")
    with pytest.raises(ValueError, match="there are patchify, unpatchify"):
        course.use("xyz")
    with pytest.raises(ValueError, match="Name at least one part"):
        course.use()


def test_a_part_that_brings_its_own_helper_of_anothers_name_uses_that(mine, capsys):
    both = SOLUTIONS["Attention"] + "\n\n" + SOLUTIONS["Block"]
    solve("Block", both)
    course.reset("Attention")
    capsys.readouterr()
    course.use("Block")
    assert capsys.readouterr().out == "Using your Block.\n"


# ---------------------------------------------------------------- files that changed


def edit(path, old, new):
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def test_an_edit_by_hand_needs_its_check_again(mine, capsys):
    path = mine / "patchify.py"
    edit(path, "rows, cols =", "cols = 0  # an experiment\n    rows, cols =")
    course.use("patchify")
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{path} was changed after its check had passed")
    assert 'course.recheck("patchify")' in first and second == "Using the package's patchify."
    course.recheck("patchify")
    assert "✓" in capsys.readouterr().out
    course.use("patchify")
    assert capsys.readouterr().out == "Using your patchify.\n"
    assert "an experiment" in path.read_text("utf-8")


def test_an_edit_that_is_wrong_stays_where_it_is(mine, capsys):
    path = mine / "patchify.py"
    edit(path, "0, 2, 4, 3, 5, 1", "0, 2, 4, 1, 3, 5")
    course.recheck("patchify")
    assert capsys.readouterr().out.startswith("✗ Each patch lists its values channel by channel")
    assert "0, 2, 4, 1, 3, 5" in path.read_text("utf-8")


def test_an_edit_is_kept_when_a_new_answer_takes_its_place(mine):
    path = mine / "patchify.py"
    edit(path, "rows, cols =", "# half a thought\n    rows, cols =")
    solve("patchify")
    assert any("half a thought" in text for text in versions(mine))


def test_line_ends_and_the_files_name_do_not_count_as_edits_but_another_part_does(mine, capsys):
    path = mine / "patchify.py"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert seam.read("patchify")[0]
    shutil.copy(path, mine / "unpatchify.py")
    assert "was changed after" in seam.read("unpatchify")[1]


def test_a_syntax_error_falls_back_and_is_named_by_its_line(mine, capsys):
    edit(mine / "patchify.py", "return x.reshape", "return x.reshape((")
    course.use("patchify")
    said = capsys.readouterr().out
    assert f"{mine / 'patchify.py'} has a syntax error on line " in said
    assert "The package's patchify is used instead." in said
    course.recheck("patchify")
    assert "has a syntax error on line" in capsys.readouterr().out


def test_an_exception_in_an_old_part_falls_back_and_is_named_by_its_line(mine, capsys):
    path = mine / "patchify.py"
    source = "LIMIT = torch.function_of_an_older_torch()\n\n\n" + SOLUTIONS["patchify"]
    path.write_bytes(seam._stamped(PARTS["patchify"], source).encode())
    mae_loss = course.use("mae_loss")
    said = capsys.readouterr().out
    assert f"{path}, line 6, stops with AttributeError" in said
    assert said.count("The package's patchify is used instead.") == 1
    assert "Using your mae_loss; the package's patchify." in said
    assert mae_loss(torch.zeros(1, 4, 12), torch.ones(1, 3, 4, 4), torch.ones(1, 4), 2) == 1
    course.recheck("patchify")
    assert f"✗ {path}, line 6, stops with AttributeError" in capsys.readouterr().out


def test_a_file_that_is_no_text_falls_back(mine, capsys):
    (mine / "patchify.py").write_bytes(b"\xff\xfe\x00")
    (mine / "unpatchify.py").write_text("print('hello')\n")
    course.use("patchify", "unpatchify")
    said = capsys.readouterr().out
    assert "cannot be read" in said and "was changed after its check" in said


def test_a_check_that_changed_is_said(mine, capsys, monkeypatch):
    newer = parts.Part("patchify", "01_patchify", "patches.patchify", version=2)
    monkeypatch.setitem(PARTS, "patchify", newer)
    course.use("patchify")
    said = capsys.readouterr().out
    assert "passed version 1 of its check, which has changed" in said and "recheck" in said
    course.recheck("patchify")
    assert "# stamp: check 2, source " in (mine / "patchify.py").read_text("utf-8")
    assert "Kept in" in capsys.readouterr().out


# ---------------------------------------------------------------- other places


def in_a_process(code, cwd, **env):
    environment = {k: v for k, v in os.environ.items() if k != "MAE_LIB_MY_MAE"}
    code = "import torch\nfrom mae_lib import course\n" + code
    result = subprocess.run([sys.executable, "-c", code], cwd=cwd, text=True, capture_output=True,
                            env={**environment, "PYTHONPATH": str(ROOT), **env})
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_another_process_finds_them_and_a_moved_folder_takes_them_along(mine, tmp_path):
    code = ("import os, pathlib\n"
            "say = lambda: print(course.use('Block')(8, 2)(torch.ones(1, 2, 8)).shape)\n"
            "say()\n"
            "pathlib.Path('my_mae').rename('../moved/my_mae')\n"
            "os.chdir('../moved')\n"
            "say()\n"
            "os.chdir('..')\n"
            "say()\n"
            "os.environ['MAE_LIB_MY_MAE'] = 'moved/my_mae'\n"
            "say()\n")
    (tmp_path / "moved").mkdir()
    here = tmp_path / "here"
    here.mkdir()
    mine.rename(here / "my_mae")
    theirs, packages = "Using your Attention, Block.", "Using the package's Block."
    lines = in_a_process(code, here).splitlines()
    assert lines[::2] == [theirs, theirs, packages, theirs]
    assert set(lines[1::2]) == {"torch.Size([1, 2, 8])"}


@pytest.fixture
def colab(tmp_path, monkeypatch):
    """Colab as far as the seam looks: its module, a working folder, a place for Drive."""
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.delenv("MAE_LIB_MY_MAE")
    monkeypatch.setattr(seam, "DRIVE", tmp_path / "drive" / "MyDrive")
    (tmp_path / "content").mkdir()
    monkeypatch.chdir(tmp_path / "content")
    return tmp_path


def test_what_is_newer_in_drive_stays(colab, capsys):
    solve("patchify")
    os.utime("my_mae/patchify.py", (1, 1))
    place = seam.DRIVE / "my_mae" / "patchify.py"
    newer = seam._stamped(PARTS["patchify"], "# newer\n" + SOLUTIONS["patchify"])
    seam.write(place, newer.encode())
    course.use("patchify")
    assert place.read_text("utf-8") == newer


def test_colab_without_drive_keeps_them_for_the_session_and_says_so(colab, capsys):
    solve("patchify")
    said = capsys.readouterr().out
    assert "Kept in my_mae/patchify.py" in said and "unless you use Google Drive" in said
    assert len(said.splitlines()) == 2
    assert (colab / "content" / "my_mae" / "patchify.py").exists()


def test_colab_with_drive_keeps_them_there(colab, capsys):
    solve("patchify")  # before Drive was mounted
    seam.DRIVE.mkdir(parents=True)
    solve("unpatchify")
    said = capsys.readouterr().out
    assert f"Kept in {seam.DRIVE / 'my_mae' / 'unpatchify.py'}" in said
    assert said.count("unless you use") == 1
    shutil.rmtree(colab / "content" / "my_mae-moved-1")  # the next session
    course.use("patchify", "unpatchify")
    assert capsys.readouterr().out == "Using your patchify, unpatchify.\n"


def test_what_is_newer_counts_when_drive_is_mounted_late(colab, capsys):
    there, here = seam.DRIVE / "my_mae", colab / "content" / "my_mae"
    solve("patchify")  # last week's session, in Drive
    solve("unpatchify")
    shutil.copytree(here, there)
    shutil.rmtree(here)
    away = seam.DRIVE.rename(colab / "unmounted")
    solve("patchify", SOLUTIONS["patchify"].replace("    return", "    # today's\n    return", 1))
    (here / "trained").mkdir()
    (here / "trained" / ".ipynb_checkpoints").mkdir()
    (here / "trained" / "scenes.safetensors").write_bytes(b"weights")
    away.rename(seam.DRIVE)
    capsys.readouterr()
    course.use("patchify", "unpatchify")
    assert "What was kept in my_mae is now in" in capsys.readouterr().out
    assert "# today's" in (there / "patchify.py").read_text("utf-8")
    assert (there / "trained" / "scenes.safetensors").read_bytes() == b"weights"
    assert len(list((there / "earlier").glob("patchify-*.py"))) == 2  # both versions
    course.reset("patchify")
    capsys.readouterr()
    course.use("patchify")
    assert "Using the package's patchify" in capsys.readouterr().out


def test_a_drive_that_fails_keeps_parts_on_the_machine(colab, capsys):
    seam.DRIVE.mkdir(parents=True)
    (seam.DRIVE / "my_mae").write_text("not a folder")
    solve("patchify")
    said = capsys.readouterr().out
    assert said.count("Google Drive cannot be used") == 1 and "Kept in my_mae/patchify.py" in said


def test_a_drive_that_does_not_answer_counts_as_none(colab, monkeypatch, capsys):
    class Lost(type(Path())):
        def is_dir(self, **_):
            raise OSError(107, "Transport endpoint is not connected")

    monkeypatch.setattr(seam, "DRIVE", Lost("/content/drive/MyDrive"))
    solve("patchify")
    assert "Kept in my_mae/patchify.py" in capsys.readouterr().out
    course.start()
    assert "keep them in your Google Drive" in capsys.readouterr().out


def test_a_trained_model_says_whether_colab_keeps_it(colab, capsys):
    sizes, weights = course.shipped_weights("original_64")
    model = reference.MAE(**sizes)
    model.load_state_dict(weights)
    course.keep_model("scenes", model, sizes)
    assert "Colab forgets it when the session ends" in capsys.readouterr().out
    seam.DRIVE.mkdir(parents=True)
    course.keep_model("scenes", model, sizes)
    assert "Colab" not in capsys.readouterr().out.splitlines()[-1]


def test_colab_start_offers_drive_once_and_mounts_it(colab, capsys):
    def mount(place):
        assert place == str(seam.DRIVE.parent)
        seam.DRIVE.mkdir(parents=True)

    sys.modules["google.colab"].drive = types.SimpleNamespace(mount=mount)
    course.start()
    assert "course.start(drive=True)" in capsys.readouterr().out and not seam.DRIVE.exists()
    course.start(drive=True)
    course.start()
    assert "course.start" not in capsys.readouterr().out
    assert seam.folder() == seam.DRIVE / "my_mae"


CELLS = ["import torch\nfrom mae_lib import course\n"
         "from mae_lib.course.exercises import patchify as check",
         SOLUTIONS["patchify"], "check.patchify(patchify)",
         "patchify = course.use('patchify')", "check.patchify(patchify)", "course.status()"]


def run_notebook(cells, folder):
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
    client = nbclient.NotebookClient(notebook, resources={"metadata": {"path": str(folder)}})
    client.execute()
    return ["".join(o.get("text", "") or o.data["text/plain"] for o in cell.outputs)
            for cell in notebook.cells]


def test_a_notebook_keeps_a_part_and_the_next_one_uses_it(tmp_path, monkeypatch):
    monkeypatch.delenv("MAE_LIB_MY_MAE")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    first = run_notebook(CELLS, tmp_path)
    assert "Kept in my_mae/patchify.py" in first[2] and first[3] == "Using your patchify.\n"
    assert "✓" in first[4] and first[5].startswith("1 of 23 parts are yours: patchify.")
    second = run_notebook([CELLS[0], CELLS[3], "patchify(torch.ones(1, 3, 4, 4), 2).shape"],
                          tmp_path)
    assert second[1:] == ["Using your patchify.\n", "torch.Size([1, 4, 12])"]


# ---------------------------------------------------------------- stopped cells


def test_an_endless_loop_that_was_stopped_is_named_by_its_line(capsys):
    source = ("def patchify(images, patch_size):\n    n = 0\n    while n < 10:\n"
              "        images = images + 1\n    return images\n")
    space = run_cell(source)
    timer = threading.Timer(0.5, _thread.interrupt_main)
    timer.start()
    PARTS["patchify"].check(space["patchify"])
    said = capsys.readouterr().out
    assert said.startswith("✗ Stopped on line ") and said.count("\n") == 1
    assert "`while n < 10:`" in said or "`images = images + 1`" in said


def test_an_error_in_an_answer_is_named_by_its_line(capsys):
    solve("patchify", BROKEN)
    said = capsys.readouterr().out
    assert "stopped with NameError on line 2, `return images * undefined_name`" in said


def test_a_stopped_cell_says_how_to_go_on(tmp_path):
    code = ("from IPython.core.interactiveshell import InteractiveShell\n"
            "shell = InteractiveShell.instance()\n"
            "shell.run_cell('from mae_lib import course; course.start()')\n"
            "print('@@@')\n"
            "result = shell.run_cell('raise KeyboardInterrupt')\n"
            "assert isinstance(result.error_in_exec, KeyboardInterrupt)\n"
            "shell.run_cell('nothing_of_this_name')\n")
    said = in_a_process(code, tmp_path).split("@@@")[1]
    stopped, missing = said.split("last one, everything else starts over.")
    assert "Stopped. Run this cell again" in stopped and "Traceback" not in stopped
    assert "that cell has not run since the kernel" in missing


# ---------------------------------------------------------------- status and assembling


def test_status_is_a_picture_with_words_and_the_same_whenever_nothing_is_solved():
    status = course.status()
    assert repr(status) == "0 of 23 parts are yours so far."
    data, metadata = status._repr_mimebundle_()
    assert (data, metadata) == course.status()._repr_mimebundle_()
    assert repr(status) in metadata["image/svg+xml"]["alt"]
    picture = ElementTree.fromstring(data["image/svg+xml"])
    words = ["".join(node.itertext()) for node in picture.iter() if node.tag.endswith("text")]
    assert set(PARTS) <= set(words) and "Using" not in "".join(words)
    width = float(picture.get("width"))
    for box in (node for node in picture.iter() if node.tag.endswith("rect")):
        assert float(box.get("x")) + float(box.get("width")) <= width


def test_status_shows_what_is_theirs_and_what_needs_its_check(mine):
    course.reset("train")
    edit(mine / "patchify.py", "rows, cols =", "# later\n    rows, cols =")
    status = course.status()
    assert repr(status).startswith("21 of 23 parts are yours: unpatchify, ")
    assert "patchify.py was changed after its check had passed" in repr(status)
    assert status.states["train"] == "the package's" and status.states["patchify"] == "changed"
    assert "patchify: changed" in status.svg()


def test_assembling_marks_whose_each_part_is(mine, tmp_path, capsys):
    course.reset("Attention")
    path = course.assemble(tmp_path / "all.py")
    text = path.read_text("utf-8")
    assert "# --- Attention: the package's; notebook 03_asymmetric_autoencoder builds it" in text
    assert "# --- Block: yours, from notebook 03_asymmetric_autoencoder" in text
    assert "# stamp" not in text
    assert text.index("def patchify") < text.index("class MAE") < text.index("def train(")
    capsys.readouterr()
    course.assemble(path)
    assert "is now in" not in capsys.readouterr().out
    path.write_text("my own changes\n")
    course.assemble(path)
    assert "is now in" in capsys.readouterr().out
    path.write_text("my other changes\n")
    course.assemble(path)
    kept = {file.read_text() for file in (tmp_path / "earlier").glob("all-*.py")}
    assert kept == {"my own changes\n", "my other changes\n"}


def test_two_parts_that_define_one_name_differently_cannot_share_a_file(mine, tmp_path):
    solve("schedule_learning_rate", "def decays():\n    return 1\n\n\n" + SOLUTIONS[
        "schedule_learning_rate"].replace("return cfg.lr *", "return decays() * cfg.lr *"))
    with pytest.raises(ValueError, match="decays is defined differently in schedule_learning_rate "
                                         "and in parameter_groups"):
        course.assemble(tmp_path / "all.py")


def test_a_part_cannot_redefine_what_the_file_imports(mine, tmp_path):
    solve("unpatchify", "def F(x):\n    return x\n\n\n" + SOLUTIONS["unpatchify"].replace(
        "return x", "return F(x)"))
    with pytest.raises(ValueError, match="F is defined differently in the head of the file and in "
                                         "unpatchify"):
        course.assemble(tmp_path / "all.py")


def test_parts_may_import_one_thing_in_several_ways(mine, tmp_path):
    solve("patchify", "from math import prod, sqrt\nimport torch.nn as nn\n\n\n" + SOLUTIONS[
        "patchify"].replace("return x", "return sqrt(1) * prod([1]) * nn.Identity()(x)"))
    solve("unpatchify", "from math import prod\n\n\n" + SOLUTIONS["unpatchify"].replace(
        "return x", "return prod([1]) * x"))
    assert "from math import prod, sqrt" in course.assemble(tmp_path / "all.py").read_text("utf-8")


def test_a_note_above_the_stamp_stays_out_of_the_assembled_file(mine, tmp_path):
    file = mine / "patchify.py"
    file.write_text("# a note of mine\n" + file.read_text("utf-8"), "utf-8")
    text = course.assemble(tmp_path / "all.py").read_text("utf-8")
    assert "# --- patchify: yours" in text and "# stamp" not in text


@pytest.mark.parametrize("content", [b"-" * 200_000 + b"1", b"\0", b"\xff\xfe"])
def test_whatever_a_file_holds_reading_it_says_so(mine, content, capsys):
    (mine / "patchify.py").write_bytes(content)
    course.use("patchify")
    assert "The package's patchify is used instead." in capsys.readouterr().out


def test_a_mark_of_an_editor_on_windows_changes_nothing(mine, capsys):
    file = mine / "patchify.py"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    course.use("patchify")
    assert capsys.readouterr().out == "Using your patchify.\n"
    course.recheck("patchify")
    assert capsys.readouterr().out.startswith("✓")


def test_a_class_that_is_still_a_stub_is_not_attempted(capsys):
    stub = ("class Attention(nn.Module):\n    def __init__(self, dim, num_heads):\n"
            "        super().__init__()\n        ...\n\n    def forward(self, x):\n        ...\n")
    solve("Attention", stub)
    assert capsys.readouterr().out == "○ Not attempted yet.\n"
    solve("Attention", SOLUTIONS["Attention"].partition("    def forward")[0] +
          "    def forward(self, x):\n        ...\n")
    assert capsys.readouterr().out == "○ Not finished yet: forward is still empty.\n"
    solve("Attention", stub.replace("    def forward(self, x):\n        ...\n", ""))
    assert "✗ Your class has no weights yet" in capsys.readouterr().out
    solve("Attention", SOLUTIONS["Attention"].replace("return self.proj", "self.proj"))
    assert "returns nothing" in capsys.readouterr().out
    PARTS["Attention"].check(None)
    assert capsys.readouterr().out == "○ Not attempted yet.\n"
    assert exercises.PARTS is PARTS
