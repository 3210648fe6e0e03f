#!/usr/bin/env bash
# Runs a session on a machine that has torch's CUDA build and a GPU, and reaches no package index.
#
#   here:   benchmarks/bare_machine.sh fetch
#   there:  benchmarks/bare_machine.sh call 1 FOLDER
#           benchmarks/bare_machine.sh call 2 FOLDER
#
# `fetch` downloads the wheels that such a machine lacks into .whl/, which travels with the working
# tree. `call` installs them for itself alone, and leaves cuda.json and logs.tar.gz in FOLDER. It
# extends a .whl/cuda.json: put that of the first call there before the second.
set -euo pipefail
cd "$(dirname "$0")/.."

# Beside torch, torchvision, timm, transformers, pytorch-lightning, pytest, matplotlib, filelock,
# PyYAML and nvidia-ml-py.
wheels=(annotated-types==0.8.0 lightning==2.6.6 pydantic==2.14.3 pydantic-core==2.50.4
  tabulate==0.10.0 tomli-w==1.2.0 typing-inspection==0.4.5)

case "${1-}" in
  fetch)
    rm -f .whl/*.whl
    python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 \
      --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
      --platform manylinux2014_x86_64 --dest .whl "${wheels[@]}"
    ls .whl
    ;;
  call)
    number=$2 folder=$(realpath "$3")
    work=$(mktemp -d)
    mkdir "$work/logs"
    python3 -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade \
      --target "$work/site" .whl/*.whl
    if [ -f .whl/cuda.json ]; then cp .whl/cuda.json "$folder/"; fi
    # Facts lie in FOLDER from the first one on, whenever the machine ends this.
    status=0
    PYTHONPATH="$PWD:$work/site" PYTHONUNBUFFERED=1 python3 benchmarks/cuda_session.py \
      --json "$folder/cuda.json" --directory "$work/logs" --call "$number" "${@:4}" || status=$?
    tar -C "$work" -czf "$folder/logs.tar.gz" logs
    exit "$status"
    ;;
  *)
    sed -n '2,11s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
