#!/usr/bin/env bash
# Compare decoding speed on the benchmark prompts. Usage: run.sh BIN PROMPTS [options of `ragdecode bench`]
# PROMPTS is a folder with rag.jsonl and summarization.jsonl; it is made from ../shared/data where that is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin=$1 prompts=$2
shift 2
data=${DATA:-../shared/data}
if [[ ! -f $prompts/rag.jsonl ]]; then
  if [[ ! -d $data ]]; then
    echo "no prompts in $prompts: name a folder that holds specbench/ and nq_swap/ with DATA=..." >&2
    exit 2
  fi
  "$bin/python" benchmarks/make_prompts.py "$data" "$prompts"
fi
for name in rag summarization; do
  echo "== $name"
  "$bin/ragdecode" bench plain --prompts "$prompts/$name.jsonl" --max-new-tokens 128 "$@"
done
