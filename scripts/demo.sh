#!/usr/bin/env bash
# The demo: an answer from the documents with its sources, then a passage against what the model believes.
# Usage: scripts/demo.sh BIN   (the environment's bin folder; `make demo` passes it)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$(cd "$1" && pwd):$PATH"
requests=configs/demo/conflict.jsonl
started=$SECONDS

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
run() {
  printf '$'
  for word in "$@"; do
    if [[ $word == *" "* ]]; then printf ' "%s"' "$word"; else printf ' %s' "$word"; fi
  done
  printf '\n'
  "$@"
}

step "1/3  Index the project's own docs/"
run ragdecode index build docs-qa

step "2/3  A question, answered from the documents with its sources"
run ragdecode ask docs-qa "Which Python version does ragdecode need?"

step "3/3  Passages that contradict what the model believes"
echo "Chosen because the model alone falls back on belief here; docs/benchmarks.md has the rates over many."
mkdir -p .ragdecode
python scripts/show_conflict.py "$requests"
run ragdecode decode conflict --requests "$requests" --set decode.rule.cad.alpha=0 --out .ragdecode/demo-plain.jsonl
python scripts/show_conflict.py "$requests" .ragdecode/demo-plain.jsonl "without CAD, the model answers"
run ragdecode decode conflict --requests "$requests" --out .ragdecode/demo-cad.jsonl
python scripts/show_conflict.py "$requests" .ragdecode/demo-cad.jsonl "with CAD, the evidence outweighs the belief"

printf '\nDone in %d s. What to type next (after: source %s):\n' "$((SECONDS - started))" "$1/activate"
cat <<'NEXT'
  ragdecode ask docs-qa "Which command lists the models?" --trace trace.html   # then open it
  ragdecode ask docs-qa "..." --docs path/to/your/folder                    # your own documents
  ragdecode chat docs-qa                                                   # ask again and again
  ragdecode explain docs-qa                                                # what the pipeline does, with every default
  ragdecode init my-app                                                    # a new app to edit
NEXT
