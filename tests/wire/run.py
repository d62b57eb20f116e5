#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ctest entry: run.py QUIRED TEST.py... runs wire tests with the tests' Python."""

import os
import sys

here = os.path.dirname(os.path.abspath(__file__))
python = os.environ.get("QUIRE_TEST_PYTHON", sys.executable)
quired, *rest = sys.argv[1:]
try:
    import pytest  # noqa: F401
except ImportError:
    if "QUIRE_TEST_PYTHON" not in os.environ:
        print("skipped: no pytest here (scripts/test.sh brings its own)")
        sys.exit(77)
os.environ["QUIRED"] = quired
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
os.environ["QUIRE_WIRE_UNTIMED"] = "1"
os.execv(python, [python, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", *(os.path.join(here, r) for r in rest)])
