"""`python -m adaptman`."""

from __future__ import annotations

from adaptman.cli.main import main

if __name__ == "__main__":
    main()
