#!/usr/bin/env python3
"""Fail when a file includes a header that its module must not see.

main -> api -> {http, text, engine}; engine -> {kv, model} -> backend -> base; text and config are leaves. Two arrows must
not exist: engine -> text (the engine knows token ids only) and kv -> backend (kv is bookkeeping over
integers). Private headers (src/<module>/x.h) are visible to their own module only. README.md names existing files only.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

BASE = {"status.h", "check.h", "log.h", "mem.h", "mailbox.h", "clock.h", "ids.h", "text_source.h",
        "buf.h", "utf8.h", "json.h", "json_file.h", "hash.h"}
OWNER = {"config.h": "config", "text.h": "text", "jinja.h": "jinja", "msg.h": "engine", "engine.h": "engine",
         "step.h": "engine", "kv.h": "kv", "model.h": "model", "ops.h": "backend",
         "backend.h": "backend", "http.h": "http",
         "handler.h": "http", "reply.h": "http", "api.h": "api"}
PLAIN = {"step.h", "msg.h"}  # plain data that crosses borders: no code behind them
MAY = {
    "base": set(),
    "config": set(),
    "jinja": set(),
    "text": {"jinja"},
    "kv": set(),
    "engine": {"kv", "config"},
    "backend": set(),
    "model": {"backend"},
    "http": {"config"},
    "api": {"http", "engine", "text", "config"},
    "kernels": {"backend"},
}
MHD_FILES = {"src/http/mhd.c", "src/http/reply.c", "src/http/exchange.c"}


def module_of(path):
    parts = path.relative_to(ROOT).parts
    if parts[0] == "kernels":
        return "kernels"
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    return None  # main.c may see everything


def check(path):
    mod = module_of(path)
    if mod is None:
        return []
    bad = []
    for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        m = re.match(r'\s*#\s*include\s+(["<])([^">]+)[">]', line)
        if not m:
            continue
        quote, name = m.groups()
        where = f"{path.relative_to(ROOT)}:{n}: {mod} must not include {name}"
        rel = str(path.relative_to(ROOT))
        if name == "microhttpd.h" and rel not in MHD_FILES:
            bad.append(where)
        if re.match(r"(cuda|cublas|nccl)", name) and mod not in ("kernels", "backend"):
            bad.append(where)
        if quote != '"':
            continue
        base = pathlib.Path(name).name
        if (ROOT / "include" / name).exists():
            owner = OWNER.get(name)
            if name in BASE or name in PLAIN or owner is None or owner == mod:
                continue
            if owner not in MAY.get(mod, set()):
                bad.append(where)
        elif "/" in name:
            first = name.split("/")[0]
            if (ROOT / "src" / first).is_dir() and first != mod:
                bad.append(where)
        elif not (path.parent / base).exists() and mod != "kernels":
            bad.append(f"{where} (no such header here)")
    return bad


def check_readme():
    """Files that README.md names in backticks exist (a bare name: in the folder of the name before it)."""
    bad, folder = [], ""
    for name in re.findall(r"`([\w./-]+\.(?:c|h|cu|py|sh|yaml))`", (ROOT / "README.md").read_text(encoding="utf-8")):
        if "/" in name:
            folder = str(pathlib.PurePosixPath(name).parent)
        if not any((ROOT / top / rest / pathlib.PurePosixPath(name).name).exists()
                   for top in ("", "src", "include") for rest in (folder, "")):
            bad.append(f"README.md: no such file: {name}")
    return bad


def main():
    files = [p for d in ("src", "kernels") for p in (ROOT / d).rglob("*")
             if p.suffix in (".c", ".h", ".cu", ".cuh")]
    bad = [b for p in sorted(files) for b in check(p)] + check_readme()
    print("\n".join(bad) if bad else f"layers: {len(files)} files, all arrows allowed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
