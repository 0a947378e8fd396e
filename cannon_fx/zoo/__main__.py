"""`python -m cannon_fx.zoo`: the same as `cannon zoo`."""

from __future__ import annotations

import sys

from cannon_fx.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "zoo")
    main()
