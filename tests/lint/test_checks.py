# SPDX-License-Identifier: Apache-2.0
"""The checks of scripts/check_layers.py see what they should: small trees with one planted fault each."""
import pathlib
import sys
import tempfile
import unittest
import unittest.mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import check_layers  # noqa: E402
import check_papers  # noqa: E402
import check_sizes  # noqa: E402
import lint  # noqa: E402
import sources  # noqa: E402

WALK = """# architecture
- **K1** pages are counted: `struct page` of `src/engine/page.h`.

```
api -> http
api -> engine
       text <- api
```

| # | thread | file | function | what happens |
|---|---|---|---|---|
| 1 | loop | `src/http/mhd.c` | `mhd_turn` | bytes |
| 2 | loop | `src/api/gen.c` | `gen_run` | request |
| 3 | engine | `src/engine/engine.c` | `engine_turn` | step |
| | | | | the way back |
| 4 | loop | `src/api/gen.c` | `gen_tokens` | tokens |
"""
TREE = {
    "include/engine.h": '#include "ids.h"\nint engine_turn(void);\n',
    "include/ids.h": "typedef int id;\n",
    "include/http.h": "int mhd_turn(void);\n",
    "include/tokenizer.h": "int text_len(const char *s);\n",
    "include/api.h": "int gen_run(void);\nvoid gen_tokens(void);\n",
    "src/http/mhd.c": '#include "http.h"\nint mhd_turn(void)\n{\n    return 0;\n}\n',
    "src/engine/engine.c": '/* K1 */\n#include "engine.h"\nint engine_turn(void)\n{\n    return 1;\n}\n',
    "src/engine/page.h": "struct page {\n    int n;\n};\n",
    "src/text/text.c": '#include "tokenizer.h"\nint text_len(const char *s)\n{\n    return *s ? 1 : 0;\n}\n',
    "src/api/gen.c": '#include "api.h"\n#include "engine.h"\n#include "http.h"\n#include "tokenizer.h"\n'
                     "int gen_run(void)\n{\n    return mhd_turn() + engine_turn() + text_len(\"{\");\n}\n"
                     "void gen_tokens(void)\n{\n}\n",
    "README.md": "`src/api/gen.c`, `src/text/`, `text.c`\n\n```\napi    1 files  9 lines  -> http text engine\n"
                 "engine 2 files  6 lines  -> base\n"
                 "```\n\n- **New thing**: a row in `src/api/gen.c`.\n",
    "include/README.md": WALK,
    "tests/README.md": "`tests/api/`\n",
    "tests/api/test_gen.c": "int x;\n",
    ".github/CONTRIBUTING.md": "[readme](../README.md)\n",
    ".github/SECURITY.md": "security\n",
}


def findings(changes=None):
    """Every finding but the licence lines and the arrows a small tree cannot have, on TREE with changes
    (a value of None removes a file)."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder).resolve()
        for rel, text in {**TREE, **(changes or {})}.items():
            if text is not None:
                (root / rel).parent.mkdir(parents=True, exist_ok=True)
                (root / rel).write_text(text, encoding="utf-8")
        srcs = check_layers.load(root)
        bad = check_layers.check_rooms(root) + check_layers.check_doors(srcs)
        bad += [b for s in srcs for i in s.includes if (b := check_layers.check_include(s, *i, root))]
        bad += check_layers.check_nevers(srcs, root) + check_layers.check_circles(srcs, root)
        every = srcs + sources.load(root, ("tests",))
        bad += check_sizes.check_lengths(every) + check_sizes.check_headers(every)
        bad += check_papers.check(root, srcs, check_layers.picture(srcs, root), check_layers.arrows(srcs, root))
        return bad


class Planted(unittest.TestCase):
    def sees(self, part, changes):
        bad = findings(changes)
        self.assertTrue(any(part in b for b in bad), f"{part!r} is not in {bad}")

    def test_clean(self):
        self.assertEqual(findings(), [])

    def test_arrows(self):
        self.sees("src/http/mhd.c:2: http must not include tokenizer.h: there is no arrow http -> text",
                  {"src/http/mhd.c": '#include "http.h"\n#include "tokenizer.h"\nint mhd_turn(void)\n{\n}\n'})
        self.sees("api must not include text/tok.h: it is private to text",
                  {"src/text/tok.h": "int x;\n", "src/api/gen.c": '#include "text/tok.h"\n'})
        self.sees("no such header is visible", {"src/api/gen.c": '#include "tok.h"\n', "src/text/tok.h": ""})
        self.sees("engine must not include <uv.h>: only api http", {"src/engine/a.c": "#include <uv.h>\n"})
        self.sees("include/new.h: has no room", {"include/new.h": "", "src/api/a.c": '#include "new.h"\n'})

    def test_unused_arrow(self):
        may, used = check_layers.MAY, {room: set(to) for room, to in check_layers.MAY.items()}
        self.assertEqual(check_layers.check_arrows(used), [])
        for room, to in [(r, d) for r in may for d in sorted(may[r]) if r != "main"]:
            bad = check_layers.check_arrows({**used, room: used[room] - {to}})
            self.assertEqual(bad, [f"scripts/check_layers.py: nothing uses the arrow {room} -> {to}: take it out of MAY"])

    def test_unknown_room(self):
        self.sees("src/attic: no such room", {"src/attic/a.c": "int x;\n"})

    def test_commented_includes_do_not_count(self):
        self.assertEqual(findings({"src/http/a.c": '/*\n#include "tokenizer.h"\n*/\n// #include "tokenizer.h"\n'}), [])

    def test_nevers_through_a_header(self):
        self.sees("http must never see tokenizer.h (through http.h -> tokenizer.h)",
                  {"include/http.h": '#include "ids.h"\n#include "tokenizer.h"\nint mhd_turn(void);\n'})

    def test_circles(self):
        self.sees("circle through rooms api http: src/api/gen.c src/http/mhd.c",
                  {"include/http.h": "int mhd_turn(void);\nint gen_run(void);\n",
                   "src/http/mhd.c": '#include "http.h"\nint mhd_turn(void)\n{\n    return gen_run();\n}\n'})

    def test_sizes(self):
        body = "int f(void)\n{\n" + "    f();\n" * 78 + "}\n"
        self.sees("src/text/a.c:1: f has 81 lines; at most 80", {"src/text/a.c": body})
        self.assertEqual(findings({"src/text/a.c": body.replace("    f();\n", "", 1)}), [])
        self.sees("src/text/a.c: 651 lines; at most 650", {"src/text/a.c": "\n" * 651})
        kernel = 'extern "C" {\nnamespace\n{\ntemplate <class T>\n__global__ void __launch_bounds__(32) k(T *p)\n{\n'
        self.sees("kernels/a.cu:4: k has 84 lines", {"kernels/a.cu": kernel + "    ;\n" * 80 + "}\n}\n}\n"})
        table = "int a[] = {\n" + "    1,\n" * 100 + "};\nstruct s {\n" + "    int x;\n" * 100 + "};\n"
        self.assertEqual(findings({"src/text/a.c": table}), [])

    def test_wide_headers(self):
        three = {f"src/text/{n}.c": f"int {n}(void)\n{{\n}}\n" for n in "xyz"}
        self.sees("src/text/all.h: declares the functions of 3 sources (x.c y.c z.c)",
                  {**three, "src/text/all.h": "int x(void), w;\nint y(void);\nint z(void);\n"})
        two = "int x(void);\nint y(void);\n"
        self.assertEqual(findings({**three, "src/text/all.h": two}), [])

    def test_paths(self):
        self.sees("README.md:1: no such file or folder: src/api/none.c",
                  {"README.md": "`src/api/none.c`" + TREE["README.md"]})
        self.sees("README.md:1: no such file or folder: src/none/",
                  {"README.md": "`src/none/`" + TREE["README.md"]})
        self.sees(".github/CONTRIBUTING.md:1: the link leads nowhere: no.md",
                  {".github/CONTRIBUTING.md": "[x](no.md)\n"})
        self.sees("tests/README.md: missing", {"tests/README.md": None})
        self.sees("README.md:8: no such file or folder: src/api/none.c",  # a recipe
                  {"README.md": TREE["README.md"].replace("row in `src/api/gen.c`", "row in `src/api/none.c`")})
        self.sees("include/README.md:2: no such file or folder: src/kv/none.h",
                  {"include/README.md": WALK.replace("src/engine/page.h", "src/kv/none.h")})

    def test_names(self):
        self.sees("include/README.md:2: src/engine/page.h has no struct node",
                  {"include/README.md": WALK.replace("struct page", "struct node")})
        self.sees("include/README.md:2: src/engine/page.h has no page_len",
                  {"include/README.md": WALK.replace("`struct page` of", "`struct page` and `page_len` of")})

    def test_suites(self):
        self.sees("tests/README.md: no suite tests/kv/ in the table", {"tests/kv/test_kv.c": ""})

    def test_walk(self):
        def walk(old, new):
            return {"include/README.md": WALK.replace(old, new)}
        self.sees("include/README.md: no walk", walk("| # |", "| no |"))
        self.sees("no such source: `src/http/none.c`", walk("src/http/mhd.c", "src/http/none.c"))
        self.sees("src/http/mhd.c has no function mhd_run", walk("mhd_turn", "mhd_run"))
        self.sees("src/api/gen.c has no function gen_end", walk("`gen_run`", "`gen_run`, `gen_end`"))
        self.sees("names no function", walk("`gen_run`", "the handler"))
        self.sees("stop 4 is the 3. in order", walk("| 3 |", "| 4 |"))
        text = "| 3 | pool | `src/text/text.c` | `text_len` | ids |\n"
        self.assertEqual(findings(walk("| 3 |", text + "| 4 |") | {"x": ""})[:1],
                         ["include/README.md:17: stop 4 is the 5. in order"])
        again = walk("| 4 |", "| 4 | loop | `src/api/gen.c` | `gen_run` | x |\n" + text.replace("3", "5")
                     + "| 6 | loop | `src/api/gen.c` | `gen_run` | x |\n" + text.replace("3", "7") + "| 8 |")
        self.sees("the walk enters text a second time", again)

    def test_rules(self):
        self.sees("src/api/a.c:2: rule K2 is not in the list", {"src/api/a.c": "int x;\n/* K2 */\n"})
        self.sees("src/api/a.c:3: rule P-7 is not in the list", {"src/api/a.c": "/*\n *\n * (P-7) */\n"})
        self.sees("tests/a.c:1: rule J3 is not in the list", {"tests/a.c": "/* J3 */\n"})
        self.sees("no comment uses rule K1", {"src/engine/engine.c": TREE["src/engine/engine.c"][9:]})
        self.assertEqual(findings({"src/api/a.c": "/* C17 and Q4_K in F16, H100 */\nint K9;\n"}), [])

    def test_picture(self):
        self.sees("README.md: the picture lacks: api -> http text engine",
                  {"README.md": TREE["README.md"].replace("-> http text", "-> text")})
        self.sees("README.md:4: the picture has what is not so: api -> text engine",
                  {"README.md": TREE["README.md"].replace("-> http text", "-> text")})

    def test_drawing(self):
        self.sees("include/README.md: the drawing lacks api -> http", {"include/README.md": WALK.replace("api -> http\n", "")})
        self.sees("include/README.md: the drawing has http -> text, which nothing uses",
                  {"include/README.md": WALK.replace("api -> http\n", "api -> http -> text\n")})


# One line of code that each marker of check_sizes.SINGLE must see.
COPIES = {
    "FNV hash": "int h = 0x100000001b3;",
    "UTF-8 validator": "int last = c <= 0xF4;",
    "strict JSON reader": "int low = u - 0xDC00;",
    "reader of JSON files": "void *d = cJSON_ParseWithLength(p, n);",
    "size of an element type": "int dt_size(int dt) { return 4; }",
}


class Single(unittest.TestCase):
    def test_copies(self):
        self.assertEqual(set(COPIES), set(check_sizes.SINGLE))
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder).resolve()
            (root / "src/base").mkdir(parents=True)
            for what, line in COPIES.items():
                (root / "src/base/a.c").write_text(f"{line}\n", encoding="utf-8")
                (root / "src/base/b.c").write_text(f"/* again */ {line}\n", encoding="utf-8")
                (root / "src/base/c.c").write_text(f"/* {line} */\n", encoding="utf-8")
                srcs, only = sources.load(root, ("src",)), {what: check_sizes.SINGLE[what]}
                self.assertEqual(check_sizes.check_single(srcs, only),
                                 [f"{what}: 2 copies, one expected: src/base/a.c src/base/b.c"])
                self.assertEqual(check_sizes.check_single(srcs[1:], only), [])
                self.assertEqual(check_sizes.check_single(srcs[2:], only), [f"{what}: 0 copies, one expected"])

    def test_licence(self):
        line = "SPDX-License-Identifier: Apache-2.0"
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder).resolve()
            for rel, text in {"src/a.c": f"/* {line} */\n", "src/b.c": "int x;\n", "src/late.c": f"\n\n/* {line} */\n",
                              "scripts/a.py": f"#!/usr/bin/env python3\n# {line}\n", "scripts/b.sh": "\n",
                              "tests/x/b.py": "\n"}.items():
                (root / rel).parent.mkdir(parents=True, exist_ok=True)
                (root / rel).write_text(text, encoding="utf-8")
            bad = check_sizes.check_licence(root, sources.load(root, ("src",)))
            self.assertEqual([b.split(":")[0] for b in bad], ["src/b.c", "src/late.c", "scripts/b.sh", "tests/x/b.py"])


class Records(unittest.TestCase):
    """scripts/lint.py looks again at a file when anything that decides its findings has changed."""

    def test_record(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder).resolve()
            texts = {"src/kv/a.c": '#include "kv/b.h"\n', "src/kv/b.h": '  # include "c.def"\n', "include/c.def": "1\n",
                     "include/d.h": "int d;\n", ".clang-tidy": "Checks: a\n"}

            def record(command="cc", tool="tidy", **changes):
                for rel, text in {**texts, **changes}.items():
                    (root / rel).parent.mkdir(parents=True, exist_ok=True)
                    (root / rel).write_text(text, encoding="utf-8")
                lint.by_name.cache_clear()
                lint.content.cache_clear()
                with unittest.mock.patch.object(lint, "ROOT", root):
                    return lint.record("src/kv/a.c", {"command": command}, tool)

            first = record()
            self.assertEqual(record(), first)
            self.assertEqual(record(**{"include/d.h": "int e;\n"}), first)
            for rel in ("src/kv/a.c", "src/kv/b.h", "include/c.def", ".clang-tidy"):
                self.assertNotEqual(record(**{rel: texts[rel] + " \n"}), first, rel)
            self.assertNotEqual(record(command="cc -O2"), first)
            self.assertNotEqual(record(tool="tidy-15"), first)
        lint.by_name.cache_clear()
        lint.content.cache_clear()


if __name__ == "__main__":
    unittest.main()
