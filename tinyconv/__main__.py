"""`python -m tinyconv` is `tinyconv`."""

from .cli import run

if __name__ == "__main__":
    run()
