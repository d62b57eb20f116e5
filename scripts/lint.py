#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run cppcheck or clang-tidy over the host C of a build; exit 1 when there is a finding.

    scripts/lint.py cppcheck|tidy BUILD_DIR [FILE...]

BUILD_DIR holds compile_commands.json. A file that is compiled twice (with planted bugs, say) is checked
once, as it is compiled first. What is switched off stands with its reason in .clang-tidy and in
scripts/cppcheck.supp. clang-tidy gets a process of its own for each file: in one process for several
files, version 14 reports va_lists of which it has lost the beginning. What clang-tidy found clean is not
looked at again while neither it nor anything it depends on has changed; BUILD_DIR/lint has the records.
"""
import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORKERS = os.cpu_count() or 2


def tool(name, version):
    """The path of a program of that version; ends the process when there is none."""
    for candidate in (f"{name}-{version}", name):
        path = shutil.which(candidate)
        if path:
            out = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
            if re.search(rf"(version|Cppcheck) {version}\b", out):
                return path
    sys.exit(f"lint: {name} {version} is not here; scripts/setup.sh test installs it (Debian 12 has it)")


def commands(build, only):
    """The first compile command of each source under src/ and tests/."""
    found = {}
    for c in json.loads((build / "compile_commands.json").read_text(encoding="utf-8")):
        path = pathlib.Path(c["directory"], c["file"]).resolve()
        rel = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
        if rel.startswith(("src/", "tests/")) and rel.endswith(".c") and (not only or rel in only):
            found.setdefault(rel, c)
    return found


@functools.cache
def by_name():
    """{name of a file: the sources and headers of this tree that are called so}."""
    found = {}
    for folder in ("src", "include", "tests", "kernels"):
        for p in sorted((ROOT / folder).rglob("*")):
            if p.suffix in (".c", ".h", ".cu", ".cuh", ".def"):
                found.setdefault(p.name, []).append(p)
    return found


@functools.cache
def content(path):
    """The hash of a file, and the names that its includes end in."""
    data = path.read_bytes()
    names = re.findall(rb'^[ \t]*#[ \t]*include[ \t]+"(?:[^"\n]*/)?([^"/\n]+)"', data, re.M)
    return hashlib.sha256(data).digest(), {n.decode() for n in names}


def record(rel, command, tool_path):
    """A name for all that decides what clang-tidy finds in a file: the tool, its settings, the command, the
    packages of this machine, the file, and every file here that an include of it or in it may mean."""
    h = hashlib.sha256(json.dumps([rel, command, tool_path]).encode())
    settings = [p / ".clang-tidy" for p in (ROOT / rel).parents if p.is_relative_to(ROOT)]
    for p in (*settings, pathlib.Path(__file__), pathlib.Path("/var/lib/dpkg/status")):
        h.update(content(p)[0] if p.is_file() else b"-")
    seen, todo = set(), [ROOT / rel]
    while todo:
        p = todo.pop()
        if p not in seen:
            seen.add(p)
            todo += [q for name in content(p)[1] for q in by_name().get(name, [])]
    for p in sorted(seen):
        h.update(p.as_posix().encode() + content(p)[0])
    return h.hexdigest()


def tidy(build, found):
    """clang-tidy on each file, as many at a time as there are cores. Returns the number with findings."""
    path = tool("clang-tidy", 14)
    clean = build / "lint" / "tidy"
    clean.mkdir(parents=True, exist_ok=True)
    old = {p.name for p in clean.iterdir()}
    names = {rel: record(rel, c, path) for rel, c in found.items()}

    def one(rel):
        run = subprocess.run([path, "-p", str(build), "--quiet", str(ROOT / rel)], cwd=ROOT,
                             capture_output=True, text=True, check=False)
        return rel, run.returncode, run.stdout, run.stderr

    bad = 0
    # The largest files first, so that no core waits for one at the end.
    order = sorted((rel for rel in found if names[rel] not in old), key=lambda rel: -(ROOT / rel).stat().st_size)
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        for rel, code, out, err in pool.map(one, order):
            if code == 0:
                (clean / names[rel]).write_text(rel, encoding="utf-8")
            else:
                bad += 1
                print(out.strip() or f"{rel}: {err.strip()}", flush=True)
    for p in clean.iterdir():
        rel = p.read_text(encoding="utf-8")
        if rel in names and names[rel] != p.name or not (ROOT / rel).is_file():
            p.unlink()  # of an older state
    return bad


def cppcheck(_, found):
    """cppcheck over all files: seconds, so without records. Returns its exit status."""
    path = tool("cppcheck", 2)
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as project:
        json.dump(list(found.values()), project)
        project.flush()
        run = subprocess.run(
            [path, f"--project={project.name}", f"-j{WORKERS}", "--std=c17", "--quiet", "--inline-suppr",
             "--enable=warning,style,performance,portability",
             f"--library={ROOT / 'scripts/cppcheck.cfg'}",
             f"--suppressions-list={ROOT / 'scripts/cppcheck.supp'}", "--error-exitcode=1",
             "--template={file}:{line}: {severity}: {message} [{id}]"], cwd=ROOT, check=False)
    return run.returncode


def main():
    checks = {"tidy": tidy, "cppcheck": cppcheck}
    if len(sys.argv) < 3 or sys.argv[1] not in checks:
        sys.exit(__doc__)
    build = pathlib.Path(sys.argv[2]).resolve()
    found = commands(build, set(sys.argv[3:]))
    bad = checks[sys.argv[1]](build, found)
    print(f"lint: {sys.argv[1]}: {len(found)} files, {'findings above' if bad else 'no finding'}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
