"""``python -m ihomer``: the command line."""

from ihomer.cli import main

if __name__ == "__main__":
    main()
