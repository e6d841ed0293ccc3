"""`python -m mmfeat`: the command line."""

from __future__ import annotations

from mmfeat.cli.start import main

if __name__ == "__main__":
    main()
