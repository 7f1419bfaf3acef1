#!/usr/bin/env bash
# colab.sh PYTHON: install the package into an environment like Colab's, where nothing that is there may change,
# and run the notebooks in it, in the smoke budget.
set -euo pipefail
python=$(command -v "${1:?usage: tools/colab.sh PYTHON}")
python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
before=$(mktemp)

installed() { "$python" -m pip list --format=freeze --exclude sslbook --exclude pip | sort; }
unchanged() {
  local changed
  changed=$(comm -23 "$before" <(installed))
  [ -z "$changed" ] || { printf '%s changed what Colab brings:\n%s\n' "$1" "$changed" >&2; exit 1; }
}

installed > "$before"
"$python" -m pip install -q --force-reinstall --no-deps .
"$python" -m pip install -q .
unchanged "Installing the package"
"$python" -m pip install -q --constraint "$before" "nbmake>=1.5.5,<2"
unchanged "Installing nbmake"
"$python" -c 'from importlib.metadata import version
print(*(f"{n} {version(n)}" for n in ("torch", "torchvision", "numpy", "ipywidgets", "anywidget", "sslbook")), sep=", ")'

# away from the checkout, so that the installed package runs and not the folder beside the notebooks
copy=$(mktemp -d)
cp -r book "$copy"
cd "$copy"
SSLBOOK_BUDGET=smoke "$python" -m pytest --nbmake --nbmake-kernel=python3 --nbmake-timeout=900 -p no:cacheprovider book
