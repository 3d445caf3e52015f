#!/bin/sh
# Trains a model of 1.2e9 random weights on one GPU of 80 GB, all weights and adapters: SFT, a reward model and PPO in
# bfloat16. Writes table.md: memory beside the plan, tokens a second, and how far log-probabilities are from float32. At
# most 8 minutes. With SIZE=tiny it takes a CPU less than a minute.
#   PYTHON  an interpreter with torch and transformers (default: python3)
#   WHEELS  a folder of wheels of what else is missing there; nothing is downloaded
#   OUT     where all is written (default: a new folder under /tmp)
#   KINDS   what is trained: all weights, adapters (default: full lora)
set -e
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3} SIZE=${SIZE:-1b} OUT=${OUT:-$(mktemp -d)}
export PYTHONPATH="$PWD/src" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
if [ -n "$WHEELS" ]; then
	"$PYTHON" -m venv --system-site-packages "$OUT/venv"
	PYTHON="$OUT/venv/bin/python"
	"$PYTHON" -m pip install --quiet --no-index --find-links "$WHEELS" \
		tokenizers safetensors rapidfuzz scipy statsmodels pydantic pyyaml typer rich jinja2 filelock peft
fi
deadline=$(($(date +%s) + ${SECONDS_AT_MOST:-430}))
within() { # run a command until the deadline, which leaves time to write the table of what is done
	timeout $((deadline - $(date +%s))) "$@"
}
DEVICE=$("$PYTHON" -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")')
mkdir -p "$OUT"
"$PYTHON" scripts/gpu_check.py make "$OUT" "$SIZE"
for kind in ${KINDS:-full lora}; do
	"$PYTHON" -m redpencil plan "$OUT/$kind.yaml" --device "$DEVICE" --json >"$OUT/$kind.plan.json" || [ $? -eq 1 ]
	within "$PYTHON" -m redpencil run "$OUT/$kind.yaml" --out "$OUT/$kind" --device "$DEVICE" --jobs 1 || echo "$kind: stopped" >&2
done
"$PYTHON" scripts/gpu_check.py table "$OUT" "$SIZE"
