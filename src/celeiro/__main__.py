"""`python -m celeiro`: the command line."""

from celeiro.cli import main

if __name__ == "__main__":
    main()
