"""`python -m clsgen.cli`: the command line."""

from clsgen.cli.main import main

if __name__ == "__main__":
    main()
