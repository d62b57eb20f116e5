# SPDX-License-Identifier: Apache-2.0
"""Sizes (files, functions, what a header declares), single copies, and the licence line of each source."""
import pathlib
import re

import sources

MAX_FILE, MAX_FUNCTION, MAX_SOURCES = 650, 80, 2

# What stands in the tree once: what only its one definition needs. Found in more than one file, there is a
# second copy; found in none, the marker is out of date.
SINGLE = {
    "FNV hash": r"1099511628211|0x100000001b3|16777619|0x0?1000193",
    "UTF-8 validator": r"0xF4\b",  # the last lead byte there is
    "strict JSON reader": r"- 0xDC00\b",  # the second half of an escaped pair
    "reader of JSON files": r"\bcJSON_Parse\w*\(",
    "size of an element type": r"\bdt(ype)?_(size|bytes)\([^;{}]*\)\s*\{|DT_F32 \? (4|sizeof)",
}


def check_lengths(srcs):
    bad = []
    for s in srcs:
        if s.lines > MAX_FILE:
            bad.append(f"{s.rel}: {s.lines} lines; at most {MAX_FILE}")
        for name, first, last, _ in s.functions:
            if last - first + 1 > MAX_FUNCTION:
                bad.append(f"{s.rel}:{first}: {name} has {last - first + 1} lines; at most {MAX_FUNCTION}")
    return bad


def declared_sources(srcs):
    """{header: sources that define the functions it declares}. Tests do not count: neither their headers
    nor the bodies they bring for functions of ours (mocks)."""
    ours = [s for s in srcs if not s.rel.startswith("tests/")]
    home = {}
    for s in ours:
        for name, _, _, local in s.functions:
            if not local and s.path.suffix in (".c", ".cu"):
                home.setdefault(name, set()).add(s.rel)
    return {s.rel: {f for name in s.prototypes for f in home.get(name, ())}
            for s in ours if s.path.suffix in (".h", ".cuh")}


def check_headers(srcs):
    bad = []
    for header, files in sorted(declared_sources(srcs).items()):
        if len(files) > MAX_SOURCES:
            names = " ".join(sorted(pathlib.PurePosixPath(f).name for f in files))
            bad.append(f"{header}: declares the functions of {len(files)} sources ({names}); "
                       f"at most {MAX_SOURCES}")
    return bad


def check_single(srcs, single=None):
    bad = []
    for what, pattern in (single or SINGLE).items():
        files = sorted({s.rel for s in srcs if not s.rel.startswith("tests/")
                        and re.search(pattern, s.uncommented, re.I)})
        if len(files) != 1:
            bad.append(f"{what}: {len(files)} copies, one expected: {' '.join(files)}".rstrip(" :"))
    return bad


def check_licence(root, srcs):
    """Every source has its SPDX line; scripts may have the line of their interpreter before it."""
    texts = {s.rel: s.text for s in srcs}
    for folder in ("scripts", "tests"):
        for p in sorted((root / folder).rglob("*")):
            if p.suffix in (".py", ".sh") and p.is_file():
                texts[p.relative_to(root).as_posix()] = p.read_text(encoding="utf-8")
    return [f"{rel}: no SPDX-License-Identifier in the first two lines" for rel, text in texts.items()
            if "SPDX-License-Identifier: Apache-2.0" not in "\n".join(text.split("\n")[:2])]


def check(root, srcs):
    srcs = srcs + sources.load(root, ("tests",))
    return (check_lengths(srcs) + check_headers(srcs) + check_single(srcs)
            + check_licence(root, srcs))
