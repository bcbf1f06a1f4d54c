#!/usr/bin/env bash
# Runs the tests of each extra with the oldest and the newest versions that it admits. The packages of a run lie in a folder
# of their own, build/versions/<extra>-<oldest|newest>, which goes before .venv's. Needs `make dev` first.
#
#   tools/versions.sh [extra ...]        all of them where none is named
set -uo pipefail
cd "$(dirname "$0")/.."

# extra | oldest | newest | tests
table() {
    cat <<'END'
sqlalchemy|sqlalchemy[asyncio]==2.0.22 aiosqlite==0.20.0 sqlmodel==0.0.22|sqlalchemy[asyncio] aiosqlite sqlmodel|tests/integration/test_sqlalchemy_*.py
alembic|alembic==1.13.0 sqlalchemy[asyncio]==2.0.22 aiosqlite==0.20.0|alembic sqlalchemy[asyncio] aiosqlite|tests/integration/test_alembic.py
django|django==4.2|django|tests/integration/test_django.py
datasette|datasette==0.64 httpx==0.27.2 setuptools<80|datasette<1|tests/integration/test_datasette.py
sqlite-utils|sqlite-utils==3.36|sqlite-utils|tests/integration/test_sqlite_utils.py
aiosqlite|aiosqlite==0.20.0 sqlalchemy[asyncio]==2.0.22|aiosqlite sqlalchemy[asyncio]|tests/integration/test_aio.py
langchain|langchain-core==0.3.63 langchain-tests==0.3.20|langchain-core langchain-tests|tests/integration/test_langchain_standard.py tests/integration/test_integrations_langchain.py
llamaindex|llama-index-core==0.14.0|llama-index-core|tests/integration/test_integrations_llamaindex.py
llm|llm==0.26 sqlite-utils==3.38|llm sqlite-utils|tests/integration/test_integrations_llm.py
frames|pandas==2.0.0 polars==1.0.0 pyarrow==14.0.0 numpy<2|pandas polars pyarrow|tests/integration/test_frames.py tests/integration/test_index_input.py
fastapi|fastapi==0.121.0 sqlalchemy[asyncio]==2.0.38 aiosqlite==0.20.0 alembic==1.13.0|fastapi sqlalchemy[asyncio] aiosqlite alembic|tests/integration/test_example_fastapi.py
END
}

failed=()
run() {
    local name=$1 packages=$2 tests=$3 folder=$PWD/build/versions/$1 warnings=()
    # Old packages use what is deprecated today.
    [[ $name == *-oldest ]] && warnings=(-W ignore::DeprecationWarning -W ignore::UserWarning)
    rm -rf "$folder"
    # shellcheck disable=SC2086
    if ! .venv/bin/python -m pip --disable-pip-version-check install -q --target "$folder" $packages 2>"$folder.log"; then
        cat "$folder.log"
        failed+=("$name")
        return
    fi
    echo "== $name: $(cd "$folder" && ls -d ./*.dist-info | sed -E 's/^\.\/(.*)-([^-]*)\.dist-info$/\1 \2/' | paste -sd, | sed 's/,/, /g')"
    # shellcheck disable=SC2086
    PYTHONPATH=$folder .venv/bin/python -m pytest -q -p no:cacheprovider "${warnings[@]}" $tests | tail -3
    [ "${PIPESTATUS[0]}" -eq 0 ] || failed+=("$name")
}

mkdir -p build/versions
while IFS='|' read -r extra oldest newest tests; do
    if [ $# -gt 0 ] && [[ " $* " != *" $extra "* ]]; then continue; fi
    run "$extra-oldest" "$oldest" "$tests"
    run "$extra-newest" "$newest" "$tests"
done < <(table)

if [ ${#failed[@]} -gt 0 ]; then
    printf 'versions: failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
echo "versions: all passed"
