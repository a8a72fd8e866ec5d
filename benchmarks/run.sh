#!/usr/bin/env bash
# Compare decoding speed on the benchmark prompts. Usage: run.sh BIN PROMPTS [options of `ragdecode bench`]
# PROMPTS is a folder of request lines; it is made from ../shared/data (or DATA) where that is there.
#   KINDS="rag writing"   only these files of it
#   OUT=folder            write each kind's figures and plot there
#   PIPELINE=name         measure another pipeline than plain, and CONTRAST="" another rule than CAD on the *_cad files
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin=$1 prompts=$2
shift 2
data=${DATA:-../shared/data}
pipeline=${PIPELINE:-plain}
contrast=${CONTRAST---set decode.rule.cad.alpha=0.5}
read -ra kinds <<<"${KINDS:-rag summarization rag_cad summarization_cad translation writing}"
for name in "${kinds[@]}"; do
  if [[ ! -f $prompts/$name.jsonl ]]; then
    if [[ ! -d $data ]]; then
      echo "no $name.jsonl in $prompts: name a folder that holds specbench/ and nq_swap/ with DATA=..." >&2
      exit 2
    fi
    "$bin/python" benchmarks/make_prompts.py "$data" "$prompts"
  fi
done
for name in "${kinds[@]}"; do
  echo "== $name"
  extra=()
  if [[ $name == *_cad ]]; then
    read -ra extra <<<"$contrast"
  fi
  if [[ -n ${OUT:-} ]]; then
    mkdir -p "$OUT"
    extra+=(--out "$OUT/$name.json" --plot "$OUT/$name.png")
  fi
  "$bin/ragdecode" bench "$pipeline" --prompts "$prompts/$name.jsonl" --max-new-tokens 128 "${extra[@]}" "$@"
done
