"""`python -m pipeline` is `lungseg`, run from the code in the current folder."""

from pipeline.cli.app import main

main()
