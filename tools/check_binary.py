"""Checks what the compiled library promises to be: one file, free of SQLite and Python, safe on every CPU.

    python tools/check_binary.py BUILD_DIRECTORY

The directory is one of CMake's, built. Needs binutils (readelf and nm), which every compiler brings.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ALLOWED_LIBRARIES = re.compile(r"^(libc|libm|libdl|libpthread|librt|ld-linux[\w.-]*)\.so\.\d+$")
"""Parts of the C library. C++'s is linked into vss0."""

EXPORTED = re.compile(r"^(sqlite3_vss_init|vss0_\w+)$")
SPECIAL_SOURCE = re.compile(r"_(avx2|avx512|avx512bf16|amx|neon|neonbf16)\.cpp\.o$")


def run(*command: str) -> list[str]:
    """Lines that a command printed."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def needed_libraries(library: Path) -> list[str]:
    """Names of the shared libraries that the loader must find for ``library``."""
    pattern = re.compile(r"\(NEEDED\).*\[(.+)\]")
    return [match[1] for line in run("readelf", "-d", str(library)) if (match := pattern.search(line))]


def symbols(library: Path, *options: str) -> list[tuple[str, str]]:
    """(type, name) of the symbols that ``nm`` lists with these options, names without their version."""
    pairs = (line.split()[-2:] for line in run("nm", *options, str(library)) if len(line.split()) >= 2)
    return [(kind, name.split("@")[0]) for kind, name in pairs]


def check_library(library: Path) -> list[str]:
    """What is wrong with vss0 itself."""
    faults = [
        f"{library.name} needs {name}, which a machine may not have"
        for name in needed_libraries(library)
        if not ALLOWED_LIBRARIES.match(name)
    ]
    for kind, name in symbols(library, "-D", "--defined-only"):
        if not EXPORTED.match(name):
            faults.append(f"{library.name} exports {name} ({kind}), which vss0.h does not declare")
    for kind, name in symbols(library, "-D", "--undefined-only"):
        if kind == "U" and (name.startswith(("_Z", "sqlite3_", "scipy_")) or name.endswith("_")):
            faults.append(f"{library.name} leaves {name} undefined")
    return faults


def check_object(path: Path) -> list[str]:
    """Functions of an instruction set's own source that the linker may hand to the rest of the library."""
    return [
        f"{path.name} defines {name}: inline code of a header, compiled for a CPU that may not be there; "
        "the linker may take this copy for everyone"
        for kind, name in symbols(path, "--defined-only")
        # A pointer for unwinding, which is no code: whichever copy is taken, it holds the same.
        if kind in "WVu" and name != "DW.ref.__gxx_personality_v0"
    ]


def check_faiss(path: Path) -> list[str]:
    """What Faiss for AVX2 shows to the rest of the library: one name, and no constructors that run on every CPU."""
    # Unique names cannot be local; they begin with the one that is shown.
    shown = {name for _, name in symbols(path, "--defined-only", "--extern-only")}
    faults = [f"{path.name} shows {name}" for name in sorted(shown) if name.split(".")[0] != "vss_faiss_avx2"]
    if "vss_faiss_avx2" not in shown:
        faults.append(f"{path.name} does not define vss_faiss_avx2")
    for line in run("readelf", "-SW", str(path)):
        if match := re.search(r"\s(\.(?:init_array|ctors|preinit_array)[\w.]*)\s", line):
            faults.append(f"{path.name} has {match[1]}: constructors for AVX2 would run where it is missing")
    return faults


def main() -> int:
    build = Path(sys.argv[1])
    library = build / "vendor" / "sqlite-vss" / "_vss0.so"
    faults = check_library(library)
    objects = sorted(path for path in build.rglob("*.o") if SPECIAL_SOURCE.search(path.name))
    for path in objects:
        faults += check_object(path)
    combined = library.parent / "faiss_avx2.o"
    if combined.exists():
        faults += check_faiss(combined)
        objects.append(combined)
    for fault in faults:
        sys.stderr.write(f"check_binary: {fault}\n")
    sys.stdout.write(f"check_binary: {library.name} and {len(objects)} objects, {len(faults)} faults\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
