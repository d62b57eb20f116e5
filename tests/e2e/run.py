#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ctest entry: run the end-to-end tests, or say why not and skip (exit code 77)."""
import os
import sys

here = os.path.dirname(os.path.abspath(__file__))
python = os.environ.get("QUIRE_TEST_PYTHON", sys.executable)
quired, *rest = sys.argv[1:]
if not os.environ.get("QUIRE_TEST_MODEL"):
    print("skipped: QUIRE_TEST_MODEL is not set (scripts/test.sh sets it)")
    sys.exit(77)
os.environ["QUIRED"] = quired
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
os.execv(python, [python, "-m", "pytest", "-x", "-q", "-s", "-p", "no:cacheprovider", *(
    os.path.join(here, r) for r in rest)])
