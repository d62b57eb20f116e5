# SPDX-License-Identifier: Apache-2.0
"""The papers tell the truth: named files exist, functions and structs stand where the papers say, rule
codes resolve, the suites are those of tests/, and README.md shows the picture of check_layers.py."""
import pathlib
import re

import sources

PAPERS = ("README.md", "include/README.md", "tests/README.md", "kernels/README.md",
          ".github/CONTRIBUTING.md", ".github/SECURITY.md")
MUST_EXIST = ("README.md", "include/README.md", "tests/README.md", ".github/CONTRIBUTING.md",
              ".github/SECURITY.md")

# A name in backticks is a path when it has a known suffix or ends in a slash.
PATH = re.compile(r"`([\w./*-]+(?:\.(?:c|h|cu|cuh|def|py|sh|yaml|yml|md|txt|json)|/))`")
# Where a path may start: at the root, at the paper, or as includes and the sources' folders say.
STARTS = ("", "src", "include", "tests")
# What the build or the user makes, or what belongs to a model, not to this tree.
NOT_OURS = {"build/", "config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json",
            "compile_commands.json", "chat_template.jinja"}

CODE = re.compile(r"\b([A-Z]-?\d{1,2}[a-z]?)\b(?! cache)")
# Not rules: standards, formats and products that look like one.
NOT_RULES = re.compile(r"C(11|17|20|23)|Q\d|F(16|32|64)|D\d|U\d|[BIEST]\d+|X\d+|N\d+|W\d+|Z\d*")
RULE = re.compile(r"^\s*(?:[-*]|\|)\s*\*\*([A-Z]\d{1,2})\*\*", re.M)

NAMED = re.compile(r"((?:`(?:struct )?\w+`(?:,\s|\sand\s)?)+)\s(?:of|in)\s`([\w./]+\.(?:c|h|cu))`")

WALK_HEAD = "| # | thread | file | function | what happens |"
WAY_BACK = "the way back"


def resolve(root, paper, name, folder):
    """The existing path that a name in a paper means, or None. A bare name may lie in the folder of
    the name before it."""
    for start in (*STARTS, str(pathlib.PurePosixPath(paper).parent), folder):
        hits = sorted((root / start).glob(name.rstrip("/"))) if start or name else []
        if hits and (not name.endswith("/") or hits[0].is_dir()):
            return hits[0]
    return None


def check_paths(root, paper):
    """Every path in backticks exists; every relative link leads somewhere."""
    bad, folder = [], ""
    text = (root / paper).read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```", lambda m: re.sub(r"[^\n]", "", m.group()), text, flags=re.S | re.M)
    for m in PATH.finditer(prose):
        name, line = m.group(1), prose.count("\n", 0, m.start()) + 1
        if name in NOT_OURS or name.startswith(("/", "build/")):
            continue
        found = resolve(root, paper, name, folder)
        if found is None:
            bad.append(f"{paper}:{line}: no such file or folder: {name}")
        elif "/" in name:
            rel = found.relative_to(root).as_posix()
            folder = rel if found.is_dir() else str(pathlib.PurePosixPath(rel).parent)
    for m in re.finditer(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose):
        if not (root / paper).parent.joinpath(m.group(1)).exists():
            bad.append(f"{paper}:{prose.count(chr(10), 0, m.start()) + 1}: the link leads nowhere: {m.group(1)}")
    return bad


def walk_rows(text):
    """(line, five cells) of each row of the reader's walk."""
    lines = text.split("\n")
    if WALK_HEAD not in lines:
        return []
    at, rows = lines.index(WALK_HEAD) + 2, []
    while at < len(lines) and lines[at].startswith("|"):
        cells = [c.strip() for c in lines[at].strip("|").split("|")]
        rows.append((at + 1, (cells + [""] * 5)[:5]))
        at += 1
    return rows


def check_names(root, srcs, paper="include/README.md"):
    """What a sentence names before a file is in it: `struct a` and `b` of `src/x.h`, `f` of `src/y.c`."""
    text, bad = (root / paper).read_text(encoding="utf-8"), []
    by_rel = {s.rel: s for s in srcs}
    for m in NAMED.finditer(text):
        src = by_rel.get(m.group(2)) or by_rel.get(f"include/{m.group(2)}")
        where = f"{paper}:{text.count(chr(10), 0, m.start()) + 1}"
        for name in re.findall(r"`([^`]+)`", m.group(1)):
            shape = rf"\b{name}\s*\{{" if name.startswith("struct ") else rf"\b{re.escape(name)}\b"
            if src and not re.search(shape, src.uncommented):
                bad.append(f"{where}: {src.rel} has no {name}")
    return bad


def check_walk(root, srcs, paper="include/README.md"):
    """Each stop exists, the stops are numbered in order, and no room is entered twice, there or back.

    A room that called another is entered no second time when the call returns: rooms are kept as a stack,
    and going to a room on it leaves those above for good. Every room stands on base, so base is free.
    """
    rows = walk_rows((root / paper).read_text(encoding="utf-8"))
    if not rows:
        return [f"{paper}: no walk: a table under {WALK_HEAD}"]
    by_rel = {s.rel: s for s in srcs}
    bad, number, inside, left = [], 0, [], set()
    for line, cells in rows:
        where = f"{paper}:{line}"
        if not cells[0]:
            if any(WAY_BACK in c for c in cells):
                inside, left = [], set()
            continue
        number += 1
        if cells[0] != str(number):
            bad.append(f"{where}: stop {cells[0]} is the {number}. in order")
        names = re.findall(r"`([^`]+)`", cells[2])
        src = by_rel.get(names[0]) if names else None
        if src is None:
            bad.append(f"{where}: no such source: {cells[2]}")
            continue
        bad += check_stop(where, src, re.findall(r"`(\w+)`", cells[3]))
        if src.room in left:
            bad.append(f"{where}: the walk enters {src.room} a second time")
        elif src.room in inside:
            at = inside.index(src.room) + 1
            left.update(inside[at:])
            del inside[at:]
        elif src.room != "base":
            inside.append(src.room)
    return bad


def check_stop(where, src, functions):
    """The functions of one stop are defined in its file."""
    here = {name for name, _, _, _ in src.functions}
    if not functions:
        return [f"{where}: names no function"]
    return [f"{where}: {src.rel} has no function {f}" for f in functions if f not in here]


def check_rules(root, srcs):
    """Every rule code in a comment stands in the list of include/README.md, and the other way round."""
    listed = set(RULE.findall((root / "include/README.md").read_text(encoding="utf-8")))
    used, bad = set(), []
    for s in srcs:
        for line, text in s.comments:
            for m in CODE.finditer(text):
                code = m.group(1)
                if NOT_RULES.fullmatch(code):
                    continue
                used.add(code)
                if code not in listed:
                    at = line + text.count("\n", 0, m.start())
                    bad.append(f"{s.rel}:{at}: rule {code} is not in the list of include/README.md")
    bad += [f"include/README.md: no comment uses rule {code}" for code in sorted(listed - used)]
    return bad


def check_picture(root, shown):
    """README.md shows today's rooms and arrows, neither more nor less (the counts change every day)."""
    def bare(line):
        return re.sub(r"\s+", " ", re.sub(r"\d+ (files?|lines)", "", line)).strip()
    lines = (root / "README.md").read_text(encoding="utf-8").split("\n")
    have = {bare(line) for line in lines}
    want = {bare(line) for line in shown}
    bad = [f"README.md: the picture lacks: {line}" for line in sorted(want - have) if "->" in line]
    return bad + [f"README.md:{at}: the picture has what is not so: {bare(line)}"
                  for at, line in enumerate(lines, 1)
                  if re.match(rf"({'|'.join(sources.ROOMS)})\s.*-> ", line) and bare(line) not in want]


def check_drawing(root, arrows, paper="include/README.md"):
    """The drawing of include/README.md has each arrow of today but those to base and of main, and no other."""
    blocks = re.findall(r"^```\n(.*?)^```", (root / paper).read_text(encoding="utf-8"), re.S | re.M)
    drawn = {pair for b in blocks for pair in re.findall(r"(?=\b(\w+) -> (\w+))", b)}
    drawn |= {(b, a) for block in blocks for a, b in re.findall(r"(?=\b(\w+) <- (\w+))", block)}
    real = {(a, b) for a, to in arrows.items() for b in to}
    return ([f"{paper}: the drawing lacks {a} -> {b}" for a, b in sorted(real - drawn)
             if a != "main" and b != "base"]
            + [f"{paper}: the drawing has {a} -> {b}, which nothing uses" for a, b in sorted(drawn - real)])


def check_suites(root, paper="tests/README.md"):
    """The table of suites has every folder of tests/ with programs, by its path."""
    text = (root / paper).read_text(encoding="utf-8")
    folders = sorted({p.parent.relative_to(root).as_posix() for p in (root / "tests").glob("*/test_*")})
    return [f"{paper}: no suite {f}/ in the table" for f in folders if f"`{f}/`" not in text]


def check(root, srcs, shown, arrows):
    bad = [f"{paper}: missing" for paper in MUST_EXIST if not (root / paper).is_file()]
    if bad:
        return bad
    for paper in PAPERS:
        if (root / paper).is_file():
            bad += check_paths(root, paper)
    tests = sources.load(root, ("tests",))
    bad += check_walk(root, srcs) + check_names(root, srcs) + check_rules(root, srcs + tests)
    return bad + check_picture(root, shown) + check_drawing(root, arrows) + check_suites(root)
