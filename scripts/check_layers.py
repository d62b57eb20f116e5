#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check the house: who may include whom, sizes, single copies, papers. Without findings print its picture.

    scripts/check_layers.py [ROOT]             all checks; exit 1 and one line a finding, or the picture
    scripts/check_layers.py --files [ROOT]     the circles of files inside rooms (allowed, but worth a look)

The arrows and the nevers stand here; check_sizes.py and check_papers.py hold the other checks.
"""
import pathlib
import re
import sys

import check_papers
import check_sizes
import sources

# Which doors (include/*.h) a room may open besides its own and those of base. main opens any door.
MAY = {
    "base": set(),
    "config": set(),
    "jinja": set(),
    "text": {"jinja"},
    "kv": set(),
    "engine": {"kv", "config"},
    "checkpoint": set(),
    "backend": set(),
    "kernels": {"backend"},
    "model": {"checkpoint", "backend"},
    "http": {"config"},
    "api": {"http", "text", "engine", "config"},
    "main": set(sources.ROOMS) - {"main", "kernels"},
}

# Not even through a header that a header includes.
NEVER = {
    ("http", "engine"): "the transport knows requests, not tokens: api answers them",
    ("http", "text"): "the transport knows requests, not texts: api answers them",
    ("engine", "text"): "the engine knows token ids only",
    ("jinja", "text"): "the template language knows no tokens",
    ("kv", "backend"): "the KV manager is bookkeeping over integers",
    ("checkpoint", "backend"): "the files of a model never see a device",
}

# The room behind each door.
OWNER = {
    "base": "status check log mem mailbox clock ids plant buf utf8 json json_make json_out json_file hash "
            "dtype random fault text_source",
    "config": "config tenants",
    "jinja": "jinja",
    "text": "tokenizer detok stop chat ends text_info",
    "kv": "kv kv_prefix kv_audit",
    "engine": "engine msg step",
    "checkpoint": "checkpoint model_config weight_rows",
    "backend": "backend ops",
    "model": "model",
    "http": "http handler reply",
    "api": "api",
}
DOOR = {f"{name}.h": room for room, names in OWNER.items() for name in names.split()}
DOOR["settings.def"] = "config"

# Plain data that crosses borders: structs without code behind them.
PLAIN = {"step.h", "msg.h"}

# Libraries that only some rooms may use.
LIBRARIES = {
    r"microhttpd\.h": {"http"},
    r"uv\.h": {"http", "api"},
    r"yaml\.h": {"config"},
    r"nettle/.*": {"config", "api"},
    r"pcre2\.h": {"text"},
    r"utf8proc\.h": {"text", "jinja"},
    r"cjson/.*": {"base"},
    r"(cuda|cublas|nccl).*": {"kernels", "backend"},
}


def room_of_header(src, name, root):
    """The room that owns the header an include names; "?" when check_doors complains, None when there is
    no such header here."""
    if (root / "include" / name).is_file():
        return DOOR.get(name, "?")
    for folder in (src.path.parent, root / "src", root / "src/backend/cuda"):
        path = folder / name
        if path.is_file():
            parts = path.resolve().relative_to(root).parts
            return "kernels" if parts[0] == "kernels" else parts[1] if len(parts) > 2 else "main"
    return None


def check_include(src, line, quote, name, root):
    """One include of one file: a finding, or None."""
    where, room = f"{src.rel}:{line}", src.room
    if quote == "<":
        for pattern, rooms in LIBRARIES.items():
            if room and re.fullmatch(pattern, name) and room not in rooms:
                return f"{where}: {room} must not include <{name}>: only {' '.join(sorted(rooms))}"
        return None
    owner = room_of_header(src, name, root)
    if owner is None:
        return f"{where}: {room} must not include {name}: no such header is visible here"
    if owner in (room, "base", "?") or room is None or name in PLAIN or (room, owner) == ("kernels", "backend"):
        return None
    if not (root / "include" / name).is_file():
        return f"{where}: {room} must not include {name}: it is private to {owner}"
    if owner not in MAY.get(room, set()):
        return f"{where}: {room} must not include {name}: there is no arrow {room} -> {owner}"
    return None


def load(root):
    """Every source of the house; a door belongs to its room."""
    srcs = sources.load(root, ("src", "include", "kernels"))
    for s in srcs:
        if s.rel.startswith("include/"):
            s.room = DOOR.get(s.path.name)
    return srcs


def check_rooms(root):
    return [f"src/{p.name}: no such room; name it in ROOMS of sources.py"
            for p in sorted((root / "src").iterdir()) if p.is_dir() and p.name not in sources.ROOMS]


def check_doors(srcs):
    return [f"{s.rel}: has no room: name its room in OWNER of check_layers.py" for s in srcs if not s.room]


def check_nevers(srcs, root):
    """The nevers, over everything that an include pulls in."""
    doors = {pathlib.PurePosixPath(s.rel).name: s for s in srcs if s.rel.startswith("include/")}
    bad = []
    for s in srcs:
        if not s.room:
            continue
        seen, todo = set(), [(name, name) for _, quote, name in s.includes if quote == '"']
        while todo:
            name, way = todo.pop()
            if name in seen or name in PLAIN:
                continue
            seen.add(name)
            why = NEVER.get((s.room, DOOR.get(name)))
            if why:
                bad.append(f"{s.rel}: {s.room} must never see {name} (through {way}): {why}")
            for _, quote, inner in doors[name].includes if name in doors else []:
                if quote == '"':
                    todo.append((inner, f"{way} -> {inner}"))
    return bad


def visible_headers(src, by_rel, root):
    """Every header of the tree that src sees, itself included."""
    seen, todo = set(), [src]
    while todo:
        s = todo.pop()
        if s.rel in seen:
            continue
        seen.add(s.rel)
        for _, quote, name in s.includes:
            for folder in (s.path.parent, root / "include", root / "src", root / "src/backend/cuda"):
                rel = (folder / name).resolve()
                rel = rel.relative_to(root).as_posix() if quote == '"' and rel.is_file() else None
                if rel in by_rel:
                    todo.append(by_rel[rel])
                    break
    return seen


def file_graph(srcs, root):
    """{file: files it uses}. A file uses another when it names a function that the other defines and that
    a header it sees declares; functions local to it shadow those of others."""
    by_rel = {s.rel: s for s in srcs}
    home = {}
    for s in srcs:
        if s.path.suffix in (".c", ".cu"):
            for name, _, _, local in s.functions:
                if not local:
                    home.setdefault(name, set()).add(s.rel)
    graph = {}
    for s in srcs:
        if s.path.suffix not in (".c", ".cu"):
            continue
        declared = {n for rel in visible_headers(s, by_rel, root) for n in by_rel[rel].prototypes}
        own = {name for name, _, _, _ in s.functions}
        used = (s.words & declared & home.keys()) - own
        graph[s.rel] = {f for name in used for f in home[name]} - {s.rel}
    return graph


def circles(graph):
    """The groups of more than one file that reach each other (Tarjan's strongly connected components)."""
    index, low, stack, on, found = {}, {}, [], set(), []

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        on.add(v)
        for w in sorted(graph.get(v, ())):
            if w not in index:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in on:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            group = []
            while not group or group[-1] != v:
                group.append(stack.pop())
                on.discard(group[-1])
            if len(group) > 1:
                found.append(sorted(group))

    sys.setrecursionlimit(10000)
    for v in sorted(graph):
        if v not in index:
            visit(v)
    return sorted(found)


def check_circles(srcs, root):
    room = {s.rel: s.room for s in srcs}
    return [f"circle through rooms {' '.join(sorted({room[f] for f in group}))}: {' '.join(group)}"
            for group in circles(file_graph(srcs, root)) if len({room[f] for f in group}) > 1]


def arrows(srcs, root):
    """{room: rooms whose doors its files open}, as the includes are today."""
    found = {}
    for s in srcs:
        if s.room:
            to = found.setdefault(s.room, set())
            for _, quote, name in s.includes:
                owner = room_of_header(s, name, root) if quote == '"' and name not in PLAIN else None
                if owner in MAY and owner != s.room:
                    to.add(owner)
    return found


def check_arrows(found):
    """An arrow that nothing uses is not part of the picture. main may open any door."""
    return [f"scripts/check_layers.py: nothing uses the arrow {room} -> {to}: take it out of MAY"
            for room in MAY if room in found and room != "main" for to in sorted(MAY[room] - found[room])]


def picture(srcs, root):
    """One line a room: files, lines, arrows; from the door to the ground."""
    found, lines = arrows(srcs, root), []
    for room in sources.ROOMS:
        own = [s for s in srcs if s.room == room]
        if not own:
            continue
        to = " ".join(r for r in sources.ROOMS if r in found[room])
        lines.append(f"{room:<10} {len(own):>3} files {sum(s.lines for s in own):>6} lines"
                     + (f"  -> {to}" if to else ""))
    return lines


def main():
    args = [a for a in sys.argv[1:] if not a.startswith("--")]
    root = pathlib.Path(args[0] if args else pathlib.Path(__file__).parent.parent).resolve()
    srcs = load(root)
    if "--files" in sys.argv:
        for group in circles(file_graph(srcs, root)):
            print(" ".join(group))
        return 0
    bad = [b for s in srcs for i in s.includes if (b := check_include(s, *i, root))]
    bad += check_rooms(root) + check_doors(srcs) + check_nevers(srcs, root) + check_circles(srcs, root)
    found = arrows(srcs, root)
    bad += check_arrows(found)
    bad += check_sizes.check(root, srcs)
    shown = picture(srcs, root)
    bad += check_papers.check(root, srcs, shown, found)
    print("\n".join(bad) if bad else "\n".join(shown))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
