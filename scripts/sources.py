# SPDX-License-Identifier: Apache-2.0
"""The C and CUDA sources as the checks see them: rooms, includes, functions, prototypes, comments.

No compiler: comments, strings and preprocessor lines are blanked (newlines stay, so that line numbers
hold), then braces are counted. That is enough for this tree, whose format clang-format fixes.
"""
import functools
import pathlib
import re

ROOMS = ("main", "api", "http", "text", "jinja", "engine", "kv", "model", "checkpoint", "backend",
         "kernels", "config", "base")
SUFFIXES = (".c", ".h", ".cu", ".cuh")
NOT_NAMES = {"__attribute__", "__launch_bounds__", "__align__", "alignas", "_Static_assert",
             "static_assert", "_Atomic", "if", "for", "while", "switch", "return", "sizeof", "defined"}

TOKEN = re.compile(r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.S)
PREPROCESSOR = re.compile(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", re.M)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+(["<])([^">]+)[">]', re.M)


def blank(text):
    """Spaces in place of everything but newlines."""
    return re.sub(r"[^\n]", " ", text)


class Source:
    """One file. `path` is absolute, `rel` relative to the root with forward slashes."""

    def __init__(self, root, path):
        self.path, self.rel = path, path.relative_to(root).as_posix()
        self.text = path.read_text(encoding="utf-8")
        self.lines = self.text.count("\n")

    @functools.cached_property
    def room(self):
        parts = self.rel.split("/")
        if parts[0] == "kernels":
            return "kernels"
        if parts[0] == "src":
            return parts[1] if len(parts) > 2 else "main"
        return None  # include/ and tests/

    @functools.cached_property
    def comments(self):
        """(line, text) of each comment."""
        return [(self.text.count("\n", 0, m.start()) + 1, m.group())
                for m in TOKEN.finditer(self.text) if m.group().startswith(("//", "/*"))]

    @functools.cached_property
    def uncommented(self):
        """Comments blanked; strings and preprocessor lines as they are."""
        return TOKEN.sub(lambda m: blank(m.group()) if m.group().startswith(("//", "/*"))
                         else m.group(), self.text)

    @functools.cached_property
    def code(self):
        """Comments, the insides of strings and preprocessor lines blanked."""
        no_strings = TOKEN.sub(lambda m: blank(m.group()), self.text)
        return PREPROCESSOR.sub(lambda m: blank(m.group()), no_strings)

    @functools.cached_property
    def includes(self):
        """(line, quote, name) of each include."""
        return [(self.text.count("\n", 0, m.start()) + 1, m.group(1), m.group(2))
                for m in INCLUDE.finditer(self.uncommented)]

    @functools.cached_property
    def _outline(self):
        return list(outline(self.code))

    @functools.cached_property
    def functions(self):
        """(name, first line, last line, is local to this file) of each function with a body."""
        found = []
        for kind, head, start, end in self._outline:
            name = declared_name(head) if kind != "statement" else None
            if name:
                first = start + len(head) - len(head.lstrip())
                local = kind == "local body" or re.search(r"\b(static|__device__|__global__)\b", head)
                found.append((name, self.code.count("\n", 0, first) + 1,
                              self.code.count("\n", 0, end) + 1, bool(local)))
        return found

    @functools.cached_property
    def prototypes(self):
        """Names of the functions declared without a body."""
        found = []
        for kind, head, _, _ in self._outline:
            if kind == "statement" and not re.search(r"\btypedef\b|=", head):
                name = declared_name(head)
                if name:
                    found.append(name)
        return found

    @functools.cached_property
    def words(self):
        """Every identifier in the code."""
        return set(re.findall(r"[A-Za-z_]\w*", self.code)) | set(
            w for m in PREPROCESSOR.finditer(self.uncommented)
            for w in re.findall(r"[A-Za-z_]\w*", m.group()))


def outline(code):
    """The top level of a file: (kind, text before the brace or semicolon, its start, end of the whole).

    kind is statement, body, or local body (in a namespace without a name). Blocks of extern "C" and
    namespaces are looked into as if their braces were not there.
    """
    start = depth = opened = 0
    head, outer = "", []
    for m in re.finditer(r"[{};]", code):
        c, at = m.group(), m.start()
        if depth == 0 and c == "{":
            head = code[start:at]
            block = re.fullmatch(r"\s*(extern|namespace(?:\s+\w+)?)\s*", head)
            if block:
                outer.append(block.group(1) == "namespace")
                start = at + 1
                continue
            opened, depth = start, 1
        elif c == "{":
            depth += 1
        elif c == "}" and depth > 0:
            depth -= 1
            if depth == 0 and is_function_head(head):
                yield "local body" if any(outer) else "body", head, opened, at
                start = at + 1
        elif c == "}" and outer:
            outer.pop()
            start = at + 1
        elif c == ";" and depth == 0:
            yield "statement", code[start:at], start, at
            start = at + 1


def is_function_head(head):
    """Whether a brace after this text opens the body of a function (not a struct, not a list)."""
    flat = re.sub(r"\s+", " ", head).strip()
    return flat.endswith(")") and not re.search(r"=", re.sub(r"<[^<>]*>|\([^()]*\)", "", flat))


def declared_name(head):
    """The function that a declaration names: the word before its last outermost parentheses."""
    name, depth = None, 0
    for m in re.finditer(r"[()]", head):
        if m.group() == "(":
            if depth == 0:
                word = re.search(r"([A-Za-z_]\w*)\s*$", head[:m.start()])
                pointer = head[m.start() + 1:].lstrip().startswith("*")
                if word and word.group(1) not in NOT_NAMES and not word.group(1).isupper() and not pointer:
                    name = word.group(1)
            depth += 1
        else:
            depth -= 1
    return name


def load(root, folders):
    """Every source under the folders of root, in order of path."""
    root = pathlib.Path(root)
    paths = [p for f in folders for p in (root / f).rglob("*") if p.suffix in SUFFIXES and p.is_file()]
    return [Source(root, p) for p in sorted(paths)]
