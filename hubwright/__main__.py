"""`python -m hubwright`."""

from .cli import main

main()
