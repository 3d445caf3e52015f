#!/bin/sh
# Makes the environments in which token rewards are tried in verl and in SkyRL themselves, .venv-verl and .venv-skyrl, and
# runs those tests. Each pins versions of torch and transformers of its own, so neither is installed beside redpencil;
# redpencil's files for them are found by PYTHONPATH. On a CPU, a few minutes and 2 GB of disk for both.
set -e
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3.11}

make_environment() { # name, package versions without their dependencies, what their imports need
	if [ -f ".venv-$1/.installed" ] && [ ".venv-$1/.installed" -nt scripts/integrations.sh ]; then return; fi
	"$PYTHON" -m venv ".venv-$1"
	pip=".venv-$1/bin/pip --disable-pip-version-check"
	$pip install --quiet torch==2.13.0 'numpy>=2' pytest
	$pip install --quiet --no-deps $2
	$pip install --quiet $3
	touch ".venv-$1/.installed"
}

make_environment verl 'verl==0.9.1' \
	'ray>=2.41 tensordict>=0.8,<=0.10 hydra-core omegaconf aiohttp transformers>=5.5.3,<5.11,!=5.6.0 pandas codetiming dill packaging'
make_environment skyrl 'skyrl==0.3.0 skyrl-gym==0.4.0' \
	'ray==2.56.0 tensordict omegaconf hydra-core loguru aiohttp tqdm func_timeout pandas requests jaxtyping datasets torchdata transformers>=5.6.1,<=5.8.0'
.venv/bin/python -m pytest -q -rs tests/integrations
