"""`python -m redpencil`, as torchrun starts it."""

from redpencil.cli.start import main

if __name__ == "__main__":
    main()
