"""`python -m cannon_fx`: the same as `cannon`; what torchrun starts."""

from cannon_fx.cli import main

if __name__ == "__main__":
    main()
