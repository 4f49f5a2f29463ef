# Needs GNU make, git and Python 3.10 or newer; everything else goes into .venv, once.
#
# .venv/.core, .venv/.course, .venv/.site and .venv/.test say what is installed: the package, with
# what the course needs, with what its web pages need, with what the tests need. A wider one counts
# as the narrower ones too. They are written last, so that an interrupted installation is taken up
# again by the next `make`.

PYTHON ?=
ARGS ?=
BRANCH ?= main

.DEFAULT_GOAL := help
.PHONY: help compare test lab notebooks site report colab lint constraints clean always

help:  ## show this list
	@echo "make TARGET [ARGS=\"...\"] [PYTHON=/path/to/python3]"; echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1 \2/p' Makefile | while read -r name text; do \
	    printf '  %-12s %s\n' "$$name" "$$text"; done
	@echo; echo "PYTHON is what .venv is created with (default: the newest of 3.13 ... 3.10)."

compare: .venv/.core  ## train and evaluate original against improved MAE (ARGS="--help")
	@.venv/bin/python -m mae_lib.compare $(ARGS)

test: .venv/.test  ## ruff, pytest without the slow tests (ARGS="-k NAME"), notebooks by nbval
	@sh -c "$$TEST_SCRIPT"

# Photographs of more than 10 MB would not arrive through the upload button otherwise.
UPLOADS := {"websocket_max_message_size": 200000000}

lab: .venv/.course  ## open the course in JupyterLab (ARGS="--no-browser")
	@first=$$(ls notebooks/*.ipynb 2>/dev/null | head -n 1); \
	.venv/bin/python -m jupyterlab --ServerApp.root_dir=. --LabApp.default_url="/lab/tree/$$first" \
	    --ServerApp.tornado_settings='$(UPLOADS)' $(ARGS)

notebooks: .venv/.test  ## run notebooks/py/*.py and store their outputs (ARGS="01 05")
	@.venv/bin/python notebooks/build.py $(ARGS)

site: .venv/.site  ## the course as web pages that need no kernel, in build/site (ARGS="00 09")
	@.venv/bin/python site/build_site.py $(ARGS)

report: .venv/.test  ## README's tables and figures, and notebook 10, anew from the records
	@.venv/bin/python -m mae_lib.evidence.report
	@.venv/bin/python notebooks/build.py 10

colab: .venv/.course  ## address and Colab badges into the notebooks (REPO=owner/name BRANCH=main)
	@.venv/bin/python notebooks/colab.py --branch "$$BRANCH" $(if $(filter undefined,$(origin REPO)),,"$$REPO")

lint: .venv/.test  ## ruff alone
	@.venv/bin/python -m ruff check . $(ARGS)

constraints:  ## choose the newest versions again for this Python, into constraints.txt
	@sh -c "$$VENV_SCRIPT"
	@.venv/bin/python -m pip install --disable-pip-version-check --quiet --dry-run \
	    --ignore-installed --report .venv/report.json ".[course,site,test]"
	@.venv/bin/python -c "$$PINS_SCRIPT"

clean:  ## remove .venv, caches and build leftovers (runs/ and data stay)
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .jupyter .virtual_documents
	find . -name .git -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +

# A .venv whose Python is gone, or that came here with a moved or copied checkout, is stale.
HERE := $(shell test -x .venv/bin/python && test "$$(cat .venv/.path 2>/dev/null)" = "$$(pwd -P)" && echo yes)
STALE := $(if $(HERE),,always)

EXTRAS.core   :=
EXTRAS.course := [course]
EXTRAS.site   := [course,site]
EXTRAS.test   := [course,site,test]
MARKS.core    := .venv/.core
MARKS.course  := .venv/.core .venv/.course
MARKS.site    := .venv/.core .venv/.course .venv/.site
MARKS.test    := .venv/.core .venv/.course .venv/.site .venv/.test

.venv/.core .venv/.course .venv/.site .venv/.test: pyproject.toml constraints.txt $(STALE)
	@sh -c "$$VENV_SCRIPT"
	@EXTRAS='$(EXTRAS$(@F))' MARKS='$(MARKS$(@F))' sh -c "$$INSTALL_SCRIPT"

# Makes sure that .venv/bin/python is there, new enough and has pip.
define VENV_SCRIPT
enough='import sys; sys.exit(sys.version_info < (3, 10))'
if .venv/bin/python -c "$$enough" 2>/dev/null; then
    .venv/bin/python -c 'import pip' 2>/dev/null && exit 0
    .venv/bin/python -m ensurepip >/dev/null 2>&1 && exit 0
fi
if [ -n "$$PYTHON" ]; then set -- "$$PYTHON"
else set -- python3.13 python3.12 python3.11 python3.10 python3; fi
found=
for python do
    version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    if ! "$$python" -c "$$enough"; then
        found="$$found
  $$(command -v "$$python") is Python $$version: too old."
    elif ! "$$python" -c 'import venv, ensurepip' 2>/dev/null; then
        found="$$found
  $$(command -v "$$python") is Python $$version, but cannot make environments.
    On Debian or Ubuntu: apt install python$$version-venv"
    else
        echo "Creating .venv with Python $$version ($$(command -v "$$python"))"
        exec "$$python" -m venv --clear .venv
    fi
done
{
    echo "Python 3.10 or newer, with its venv module, is needed to create .venv."
    if [ -n "$$found" ]; then echo "Found:$$found"; else echo "Looked for $$*: none runs here."; fi
    echo "Install one, or name one: make PYTHON=/path/to/python3 ..."
} >&2
exit 1
endef

# Installs this checkout with $EXTRAS, then writes $MARKS.
define INSTALL_SCRIPT
set -e
start=$$(date +%s)
pins="-c constraints.txt"
.venv/bin/python -c 'import sys; sys.exit(sys.version_info >= (3, 14))' || {
    pins=
    echo "constraints.txt has no versions for this Python: taking the newest that fit."
}
echo "Installing mae_lib$$EXTRAS into .venv (torch is large: 6 GB in all on Linux, a few minutes) ..."
if [ -t 1 ]; then
    quiet=
else  # no terminal, no progress bars: a line now and then
    quiet=--quiet
    while sleep 15 >/dev/null 2>&1; do
        echo "  $$(($$(date +%s) - start)) s, $$(du -sh .venv | cut -f1) so far"
    done &
    trap "kill $$! 2>/dev/null" EXIT
    trap 'exit 130' INT TERM
fi
.venv/bin/python -m pip install --disable-pip-version-check $$quiet -e ".$$EXTRAS" $$pins
pwd -P > .venv/.path
touch $$MARKS
echo "Installed in $$(($$(date +%s) - start)) s."
endef

# Runs every part, even after a failure, and fails if any failed.
define TEST_SCRIPT
export OMP_NUM_THREADS=1 JUPYTER_PREFER_ENV_PATH=1 MAE_LIB_LEVEL=smoke
python=.venv/bin/python
failed=
$$python -m ruff check . || failed="$$failed ruff"
$$python -m pytest tests -n 2 --dist loadfile -m "not slow" $(ARGS) || failed="$$failed pytest"
if ls notebooks/*.ipynb >/dev/null 2>&1; then
    # On the CPU also where there is a GPU: what is printed was stored from there.
    CUDA_VISIBLE_DEVICES= $$python -m pytest notebooks --nbval --nbval-current-env -n 2 --dist loadfile \
        --nbval-sanitize-with tests/nbval_sanitize.cfg || failed="$$failed notebooks"
else
    echo "No notebooks to check."
fi
[ -z "$$failed" ] || { echo "make test: failed:$$failed" >&2; exit 1; }
echo "make test: all passed."
endef

# Reads pip's report; keeps the versions chosen for the other Pythons.
define PINS_SCRIPT
import json, re, sys
markers = ['python_version < "3.11"', 'python_version >= "3.11"']
mine = sys.version_info >= (3, 11)
notes, pins = [], {}
for line in open("constraints.txt", encoding="utf-8").read().splitlines():
    if line.startswith("#") or not line:
        notes.append(line)
        continue
    pin, _, marker = (part.strip() for part in line.partition(";"))
    for i in [markers.index(marker)] if marker else [0, 1]:
        if i != mine:
            pins.setdefault(pin.partition("==")[0], ["", ""])[i] = pin
for item in json.load(open(".venv/report.json", encoding="utf-8"))["install"]:
    name = re.sub("[-_.]+", "-", item["metadata"]["name"]).lower()
    if not re.match("(nvidia-|cuda-|(triton|setuptools|pip|mae-lib)$$)", name):
        pins.setdefault(name, ["", ""])[mine] = name + "==" + item["metadata"]["version"]
lines = []
for _, (old, new) in sorted(pins.items()):
    if old == new:
        lines.append(new)
    else:
        lines += [pin + " ; " + marker for pin, marker in zip((old, new), markers) if pin]
open("constraints.txt", "w", encoding="utf-8").write(chr(10).join(notes + lines) + chr(10))
print(len(lines), "lines in constraints.txt")
endef

export PYTHON REPO BRANCH VENV_SCRIPT INSTALL_SCRIPT TEST_SCRIPT PINS_SCRIPT
