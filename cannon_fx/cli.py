"""The `cannon` command. Torch and the compiler are imported only once a command runs."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import tyro

if TYPE_CHECKING:
    from cannon_fx.config import RunConfig

T = TypeVar("T")

DEMO_MODEL = "cannon_fx.networks:digits_net"


@dataclass(frozen=True)
class MappingOptions:
    """What is mapped onto which chip."""

    model: str | None = None
    """package.module:factory, called without arguments; the built-in digits network if left out"""
    data: str | None = None
    """digits, cifar10:DIR (the python batches) or npz:FILE"""
    chip: str | None = None
    """a chip that comes with cannon_fx, or the path of a .toml file (siam-32nm; for the demo demo-32nm)"""
    group_size: int | None = None
    """input channels per connection (16; for the demo 4)"""
    order: Literal["row-major", "snake", "hilbert", "spectral", "faq", "annealed"] = "snake"
    """where the tiles lie: along a curve through the mesh, or optimised for the network's traffic"""
    targets: tuple[str, ...] = ()
    """map only these layers: name, glob, class, or re:REGEX"""
    ignore: tuple[str, ...] = ()
    """leave these layers alone: name, glob, class, or re:REGEX"""

    @property
    def demo(self) -> bool:
        """True for the built-in network."""
        return self.model is None

    def default(self, given: T | None, for_demo: T, otherwise: T) -> T:
        """An option's value; some defaults fit the demo's small network only."""
        return given if given is not None else for_demo if self.demo else otherwise

    def mapping(self) -> dict[str, Any]:
        """The compiler's options."""
        return {
            "chip": self.default(self.chip, "demo-32nm", "siam-32nm"),
            "group_size": self.default(self.group_size, 4, 16),
            "order": self.order,
            "targets": self.targets,
            "ignore": self.ignore,
        }

    def source(self) -> str:
        """Where the data comes from. Raises RunError for a network of one's own without data."""
        from cannon_fx.errors import RunError

        if not self.demo and self.data is None:
            raise RunError("--model was given without --data. Say what to read: digits, cifar10:DIR or npz:FILE.")
        return self.data or "digits"


@dataclass(frozen=True)
class Optimize(MappingOptions):
    """Retrain a network until its communication fits a budget. Without arguments: the digits demo."""

    budget: str = "energy/3"
    """energy/3, latency/2, edp/6, or an absolute value such as energy=120000 (pJ)"""
    methods: tuple[Literal["dense", "cost-blind", "cannon"], ...] | None = None
    """what to compare, each retrained for the same epochs (dense and cannon; for the demo all three)"""
    epochs: int = 40
    """epochs of each method, half to reach the budget, half to fine-tune"""
    dense_epochs: int | None = None
    """epochs to train the dense network first (0; for the demo 20)"""
    batch_size: int = 64
    """samples per step"""
    learning_rate: float = 0.05
    """of SGD with Nesterov momentum 0.9"""
    device: str = "cpu"
    """cpu, cuda, cuda:1, …"""
    seed: int = 0
    """of weights, data order and augmentation"""
    out: Path | None = None
    """folder for the results; must not exist (runs/ and the model's name; for the demo runs/demo)"""
    resume: bool = False
    """go on with the unfinished run in --out; give the same options again"""

    def folder(self) -> Path:
        """Where the results go."""
        return self.out or Path("runs") / (self.model.replace(":", ".") if self.model else "demo")

    def config(self) -> RunConfig:
        """The run's configuration, with defaults that fit the demo or a network of one's own."""
        from cannon_fx.config import RunConfig

        return RunConfig(
            **self.mapping(),
            model=self.model or DEMO_MODEL,
            data=self.source(),
            budget=self.budget,
            methods=self.methods or (("dense", "cost-blind", "cannon") if self.demo else ("dense", "cannon")),
            dense_epochs=self.default(self.dense_epochs, 20, 0),
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            device=self.device,
            seed=self.seed,
        )


@dataclass(frozen=True)
class Map(MappingOptions):
    """Show where a network's layers would lie and what they would cost. Nothing is trained or written."""

    input_shape: tuple[int, ...] = ()
    """one sample's shape, e.g. 3 224 224, instead of --data"""


def say(message: str) -> None:
    """A message on stderr, off the line of a progress bar or a ^C."""
    sys.stderr.write(f"cannon: {message}\n")


def optimize(options: Optimize) -> None:
    """Runs it; on Ctrl-C says how to go on."""
    from cannon_fx.errors import CannonError
    from cannon_fx.progress import Progress
    from cannon_fx.report import write_report
    from cannon_fx.run import CHECKPOINT, Run

    command = shlex.join(["cannon", *(word for word in sys.argv[1:] if word != "--resume")])
    out = options.folder()
    if os.path.lexists(out) and not options.resume:
        Run.refuse(out)
    run = Run(options.config(), command)
    if options.resume:
        run.resume(out)
    else:
        run.start(out)
    try:
        with Progress(run) as progress:
            record = run.execute(out, progress)
        write_report(record, out)
        (out / CHECKPOINT).unlink()
    except (KeyboardInterrupt, Exception) as stop:  # a user's network may raise anything
        interrupted = isinstance(stop, KeyboardInterrupt)
        if interrupted:
            why = "stopped."
        else:
            why = str(stop) if isinstance(stop, CannonError) else f"{type(stop).__name__}: {stop}."
        if (out / CHECKPOINT).exists():
            say(f"{why} The last checkpoint is safe in {out}. Go on with:\n  {command} --resume")
        else:
            run.abandon(out)
            say(f"{why} Nothing was written.")
        sys.exit(130 if interrupted else 2)
    progress.finish(record, out)


def show_map(options: Map) -> None:
    """Prints the plan's summary."""
    import torch

    from cannon_fx.compile import plan
    from cannon_fx.data import load_data
    from cannon_fx.errors import RunError
    from cannon_fx.factory import load_model

    if any(size < 1 for size in options.input_shape):
        raise RunError(f"input_shape is {options.input_shape}: give positive sizes, without the batch.")
    shape = options.input_shape
    sample = torch.zeros(()).expand(1, *shape) if shape else load_data(options.source()).train.images[:1].float()
    mapping = options.mapping()
    found = plan(load_model(options.model or DEMO_MODEL), sample, **mapping | {"targets": mapping["targets"] or None})
    sys.stdout.write(found.summary(shutil.get_terminal_size((110, 0)).columns))


Command = Annotated[Optimize, tyro.conf.subcommand("optimize")] | Annotated[Map, tyro.conf.subcommand("map")]


def main() -> None:
    """The entry point: exit status 0, 2 after an error of the user's, 130 after Ctrl-C."""
    options = tyro.cli(Command, prog="cannon", description="Communication-aware sparse networks for IMC chips.")
    from cannon_fx.errors import CannonError
    from cannon_fx.hw.errors import ChipError

    try:
        optimize(options) if isinstance(options, Optimize) else show_map(options)
    except (CannonError, ChipError) as error:
        say(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        say("stopped; nothing was written.")
        sys.exit(130)


if __name__ == "__main__":
    main()
