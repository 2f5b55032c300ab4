#!/bin/sh
# Runs the runtime's tests as a Jetson with JetPack 6 would: Python 3.10, with the oldest numpy and
# onnxruntime and then the newest, click, and nothing else of the project's packages installed.
# onnxruntime 1.18 is the first that reads the artefacts (IR version 10).
set -eu
cd "$(dirname "$0")/../.."

python310=
for candidate in python3.10 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.10.*/bin/python3.10; do
    # a pyenv shim answers to the name and then refuses to run
    if "$candidate" -c 'import venv' 2>/dev/null; then
        python310=$candidate
        break
    fi
done
if [ -z "$python310" ]; then
    echo "no Python 3.10 on this machine: the runtime's tests on it are left out"
    exit 0
fi

for age in oldest newest; do
    venv=.venv310-$age
    if [ ! -e "$venv/.ready" ] || [ constraints.txt -nt "$venv/.ready" ]; then
        "$python310" -m venv --clear "$venv"
        case $age in
            oldest)
                engine='numpy==1.23.5 onnxruntime==1.18.0'
                grep -v -e '^numpy' -e '^onnxruntime' constraints.txt > "$venv/constraints.txt"
                ;;
            newest)
                engine='numpy onnxruntime'
                cp constraints.txt "$venv/constraints.txt"
                ;;
        esac
        # shellcheck disable=SC2086  # two words
        "$venv/bin/pip" install --quiet --disable-pip-version-check \
            -c "$venv/constraints.txt" $engine click pytest pytest-timeout hypothesis
        touch "$venv/.ready"
    fi
    "$venv/bin/python" -c 'import sys, numpy, click, onnxruntime
print("Python", sys.version.split()[0], "numpy", numpy.__version__, "onnxruntime", onnxruntime.__version__)'
    PYTHONPATH=runtime "$venv/bin/pytest" -q -p no:cacheprovider tests/runtime
done
