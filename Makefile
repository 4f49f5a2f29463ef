# Needs GNU make, git and Python 3.10 or newer; everything else goes into .venv, once.
#
# .venv/.core, .venv/.course, .venv/.site and .venv/.test say what is installed: the package, with
# what the course needs, with what its web pages need, with what the tests need. A wider one counts
# as the narrower ones too. They are written last, so the next `make` resumes an interrupted
# installation. .venv/.torch keeps which builds of PyTorch were chosen with TORCH=.

UV_PIN := uv==0.13.9
PYTHON ?=
KEPT := $(shell cat .venv/.torch 2>/dev/null)
TORCH ?= $(KEPT)
ARGS ?=
BRANCH ?= main

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help compare test lab notebooks site report colab lint constraints clean always

help:  ## show this list
	@echo "make TARGET [ARGS=\"...\"] [TORCH=cpu] [PYTHON=/path/to/python3]"; echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1 \2/p' Makefile | while read -r name text; do \
	    printf '  %-12s %s\n' "$$name" "$$text"; done
	@echo; echo "PYTHON is used to create .venv (default: the newest of 3.13 ... 3.10). TORCH=cpu installs PyTorch"
	@echo "without CUDA, which is much smaller; later commands keep to it, until TORCH= is given."
	@echo "For another PYTHON, make clean first."

compare: .venv/.core  ## train and evaluate original against improved MAE (ARGS="--help")
	@.venv/bin/python -m mae_lib.compare $(ARGS)

test: .venv/.test  ## ruff, pytest without the slow tests (ARGS="-k NAME"), notebooks by nbval
	@sh -c "$$TEST_SCRIPT"

lab: .venv/.course  ## open the course in JupyterLab (ARGS="--no-browser")
	@first=$$(ls notebooks/*.ipynb 2>/dev/null | head -n 1); \
	JUPYTER_PREFER_ENV_PATH=1 JUPYTER_CONFIG_PATH="$$(pwd -P)/tools/jupyter$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}" \
	    .venv/bin/python -m jupyterlab --ServerApp.root_dir=. --LabApp.default_url="/lab/tree/$$first" $(ARGS)

notebooks: .venv/.test  ## run notebooks/py/*.py and store their outputs (ARGS="01 05")
	@.venv/bin/python tools/build.py $(ARGS)

site: .venv/.site  ## the course as web pages that need no kernel, in build/site (ARGS="00 09")
	@.venv/bin/python site/build_site.py $(ARGS)

report: .venv/.test  ## rewrite README, RESULTS.md, their figures and notebook 10 from the records
	@.venv/bin/python -m mae_lib.evidence.report
	@.venv/bin/python tools/build.py 10

colab: .venv/.course  ## put Colab badges and the address into the notebooks (REPO=owner/name BRANCH=main)
	@.venv/bin/python tools/colab.py --branch "$$BRANCH" $(if $(filter undefined,$(origin REPO)),,"$$REPO")

lint: .venv/.test  ## ruff alone
	@.venv/bin/python -m ruff check . $(ARGS)

constraints:  ## write the newest versions, for all Pythons, into constraints.txt
	@sh -c "$$VENV_SCRIPT"
	@sh -c 'eval "$$FIND_UV_SCRIPT"; unset UV_INDEX UV_FIND_LINKS; \
	    $${uv:?could not be installed} pip compile $(COMPILE)'
	@sed -E '/^(nvidia-|cuda-|triton=|setuptools=)/d' .venv/constraints.txt > constraints.txt

# Only the main index is asked, since others may lack files for other Pythons. torch itself demands
# exact versions of the CUDA libraries and triton: they are left out, as TORCH= may choose others.
COMPILE := pyproject.toml --all-extras --universal --python-version 3.10 --upgrade --quiet \
    --no-annotate --no-emit-index-url --custom-compile-command "make constraints" -o .venv/constraints.txt

clean:  ## remove .venv, caches and build leftovers (runs/ and data stay)
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .jupyter .virtual_documents
	find . -name .git -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +

# A .venv whose Python is gone, or that came here with a moved or copied checkout, is stale.
# So is one with other builds of PyTorch.
HERE := $(shell test -x .venv/bin/python && test "$$(cat .venv/.path 2>/dev/null)" = "$$(pwd -P)" && echo yes)
STALE := $(if $(HERE),$(if $(filter-out x$(KEPT),x$(TORCH)),always),always)

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

# Sets $uv, and tells uv what pip is told about where packages are; uv's own variables go first.
# Of several indexes, pip takes the best match of all; uv would take the first that has any.
define FIND_UV_SCRIPT
export PIP_USER=0 UV_SYSTEM_CERTS="$${UV_SYSTEM_CERTS:-1}"  # as pip: .venv, the system's certificates
uv=
.venv/bin/python -m pip install --disable-pip-version-check --quiet "$(UV_PIN)" 2>/dev/null &&
    uv=".venv/bin/python -m uv"
settings=$$(.venv/bin/python -m pip config list 2>/dev/null | LC_ALL=C sort)
for pair in index-url:UV_DEFAULT_INDEX extra-index-url:UV_INDEX find-links:UV_FIND_LINKS \
        trusted-host:UV_INSECURE_HOST cert:SSL_CERT_FILE proxy:HTTPS_PROXY; do
    value=$$(printf '%s\n' "$$settings" | sed -n "s/^[a-z:]*\.$${pair%:*}='\(.*\)'$$/\1/p" | head -n 1)
    value=$$(printf '%s\n' "$$value" | sed 's/\\n/ /g; s/^ *//')
    case "$$pair" in find-links:*) value=$$(echo "$$value" | tr ' ' ,) ;; esac
    if [ -n "$$value" ] && ! printenv "$${pair#*:}" >/dev/null; then export "$${pair#*:}=$$value"; fi
done
[ -z "$$UV_INDEX" ] || export UV_INDEX_STRATEGY="$${UV_INDEX_STRATEGY:-unsafe-best-match}"
endef

# Installs this checkout with $EXTRAS, then writes $MARKS.
define INSTALL_SCRIPT
set -e
start=$$(date +%s)
echo "Installing mae_lib$$EXTRAS into .venv (up to 6 GB of disk space the first time, 1 GB with TORCH=cpu) ..."
trap 'exit 130' INT TERM
if [ -t 1 ]; then
    quiet=
else  # no terminal, no progress bars: a line now and then
    quiet=--quiet
    while sleep 15 >/dev/null 2>&1; do
        echo "  $$(($$(date +%s) - start)) s so far"
    done &
    trap "kill $$! 2>/dev/null" EXIT
fi
eval "$$FIND_UV_SCRIPT"
wheels=https://download.pytorch.org/whl/$$TORCH
reach="from urllib.request import urlopen; urlopen('$$wheels/torch/', timeout=20)"
if [ -n "$$TORCH" ] && ! .venv/bin/python -c "$$reach" 2>/dev/null; then
    echo "PyTorch's builds for TORCH=$$TORCH cannot be had: $$wheels does not answer." >&2
    echo "Check the name and the network, or install the usual builds: make ... TORCH=" >&2
    exit 1
fi
if [ "$$TORCH" != "$$KEPT" ]; then
    rm -f .venv/.core .venv/.course .venv/.site .venv/.test
    .venv/bin/python -m pip uninstall --yes --quiet torch torchvision 2>/dev/null || true
fi
echo "$$TORCH" > .venv/.torch  # also if what follows is interrupted
set -- -c constraints.txt -e ".$$EXTRAS"
if [ -z "$$uv" ]; then
    echo "uv could not be installed: pip installs the rest, which takes longer."
elif $$uv pip install $${TORCH:+--torch-backend $$TORCH} --python .venv/bin/python $$quiet "$$@"; then
    set --
else
    echo "uv could not install this: trying pip, which takes longer."
fi
[ $$# = 0 ] || .venv/bin/python -m pip install --disable-pip-version-check $$quiet "$$@" \
    $${TORCH:+--extra-index-url "$$wheels"}
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
    # On the CPU even where there is a GPU, since the stored outputs are from a CPU.
    # The plugin hides what the learner has built, and what other notebooks keep.
    CUDA_VISIBLE_DEVICES= $$python -m pytest notebooks --nbval --nbval-current-env -p tests.nbval_folders -n 2 --dist loadfile \
        --nbval-sanitize-with tests/nbval_sanitize.cfg || failed="$$failed notebooks"
else
    echo "No notebooks to check."
fi
[ -z "$$failed" ] || { echo "make test: failed:$$failed" >&2; exit 1; }
echo "make test: all passed."
endef

export PYTHON TORCH KEPT BRANCH VENV_SCRIPT FIND_UV_SCRIPT INSTALL_SCRIPT TEST_SCRIPT
