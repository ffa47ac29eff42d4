"""`python -m gigafactory.cli` is `giga`."""

from gigafactory.cli.main import main

main()
