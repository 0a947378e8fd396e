"""The `cannon` command. Torch, numba and the compiler are imported only once a command runs."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import tyro

from cannon_fx.commands import say
from cannon_fx.commands.bench import Bench
from cannon_fx.commands.chips import Chips
from cannon_fx.commands.compare import Compare
from cannon_fx.commands.map import Map
from cannon_fx.commands.optimize import Optimize
from cannon_fx.commands.report import Report
from cannon_fx.commands.simulate import Simulate
from cannon_fx.commands.sweep import Sweep
from cannon_fx.commands.zoo import Zoo

Command = (
    Annotated[Optimize, tyro.conf.subcommand("optimize")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Map, tyro.conf.subcommand("map")]
    | Annotated[Simulate, tyro.conf.subcommand("simulate")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[Sweep, tyro.conf.subcommand("sweep")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
    | Annotated[Zoo, tyro.conf.subcommand("zoo")]
    | Annotated[Chips, tyro.conf.subcommand("chips")]
)


def main() -> None:
    """The entry point: exit status 0, 2 after an error of the user's, 130 after Ctrl-C, 141 if nobody reads on."""
    for word in sys.argv:
        if any("\ud800" <= letter <= "\udfff" for letter in word):  # Python's stand-ins for bytes that are no text
            say(f"{word!r} is no text in UTF-8, and could not be written into a report. Rename it.")
            sys.exit(2)
    options = tyro.cli(Command, prog="cannon", description="Communication-aware sparse networks for IMC chips.")
    from cannon_fx.errors import CannonError
    from cannon_fx.hw.errors import ChipError

    try:
        options.run()
        sys.stdout.flush()
    except (CannonError, ChipError) as error:
        say(str(error))
        sys.exit(2)
    except BrokenPipeError:  # as when the output goes into `head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at the end
        sys.exit(141)
    except OSError as error:
        # Libraries raise OSErrors that have a text and nothing else.
        what = error.strerror or " ".join(str(error).split()).rstrip(".")
        say(f"cannot use {error.filename or 'a file'!r}: {what}. Choose another path, or make room there.")
        sys.exit(2)
    except KeyboardInterrupt:
        say("stopped; nothing was written.")
        sys.exit(130)


if __name__ == "__main__":
    main()
