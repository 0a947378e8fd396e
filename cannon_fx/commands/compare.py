"""`cannon compare`: every method, budget and seed through the same harness, into one table."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from rich.console import Console

from cannon_fx.commands import command_line, say
from cannon_fx.commands.mapping import DEMO_MODEL
from cannon_fx.methods import Method

if TYPE_CHECKING:
    from cannon_fx.compare.config import CompareConfig
    from cannon_fx.train.training import Epoch


@dataclass(frozen=True)
class Compare:
    """Compare methods on networks, chips, budgets and seeds.

    Call it again to go on where it was stopped. Called several times at once, the calls share the work.
    """

    config: Path | None = None
    """a config.toml of a comparison, instead of the options below"""
    networks: tuple[str, ...] = (DEMO_MODEL,)
    """package.module:factory each; cannon_fx.networks_cifar has some"""
    data: str = "digits"
    """digits, cifar10:DIR (the python batches) or npz:FILE"""
    chips: tuple[str, ...] = ("demo-32nm",)
    """chips that come with cannon_fx, or paths of .toml files"""
    methods: tuple[Method, ...] = get_args(Method)
    """dense is always among them; filter-l1 and depgraph need torch-pruning"""
    budgets: tuple[str, ...] = ("energy/2", "energy/3", "energy/4")
    """what every method is brought to: energy/3, latency/2, edp/6, or an absolute value"""
    seeds: int = 1
    """runs of everything, from seed 0"""
    base_weights: tuple[Path, ...] = ()
    """a state_dict for each network to begin with"""
    dense_epochs: int = 20
    """epochs to train each network first; 0 for base weights as they are"""
    epochs: int = 40
    """epochs of each method, dense too: half to reach the budget, half to fine-tune"""
    batch_size: int = 64
    """samples per step"""
    learning_rates: tuple[float, ...] = (0.05,)
    """of SGD with Nesterov momentum 0.9; with several, a tenth of the train images is held out to choose by"""
    group_size: int = 4
    """input channels per connection"""
    order: Literal["row-major", "snake", "hilbert", "spectral", "faq", "annealed"] = "annealed"
    """how tiles are placed, before training for the dense traffic and after it for what is left"""
    bfloat16: bool = False
    """train with bfloat16 autocast and channels last; weights and evaluation stay float32"""
    accumulate: int = 1
    """parts in which each step's samples are taken one after another; more parts need less memory"""
    distill: float = 0.0
    """share of the loss, 0 to 1, that asks for the answers of the network as it was given, not for the labels"""
    device: str = "cpu"
    """cpu, cuda, cuda:1, …"""
    out: Path = Path("runs/compare")
    """folder for the results; what is finished there is kept"""
    checkpoint_seconds: float = 60.0
    """between two checkpoints of a run's epoch; there is always one at its end"""

    def settings(self) -> CompareConfig:
        """From --config, or from the other options."""
        from cannon_fx.compare.config import CompareConfig

        if self.config is not None:
            return CompareConfig.read(self.config)
        options = asdict(self) | {"base_weights": tuple(map(str, self.base_weights))}
        own = ("config", "out", "checkpoint_seconds")
        return CompareConfig(**{name: value for name, value in options.items() if name not in own})

    def run(self) -> None:
        """Runs what is left, with the other processes if torchrun has started several; on Ctrl-C says how to go on."""
        from cannon_fx.compare.page import record_of, write_comparison
        from cannon_fx.compare.runs import execute, open_folder
        from cannon_fx.train.ranks import first, joined, rank

        command, settings = command_line(), self.settings()
        with joined(settings.device):
            first(lambda: open_folder(settings, self.out))
            try:
                outcomes = execute(settings, self.out, command, _tell, self.checkpoint_seconds)
            except KeyboardInterrupt:
                if rank() == 0:
                    say(f"stopped. What is finished is safe in {self.out}. Go on with:\n  {command}")
                sys.exit(130)
            if rank() == 0:
                record = record_of(outcomes, command, settings.plain())
                write_comparison(record, self.out)
                show(record, self.out)


def _tell(job: str, state: str, epoch: Epoch) -> None:
    """A line per epoch."""
    line = f"{state} {job}: epoch {epoch.epoch}, loss {epoch.loss:.3f}, accuracy {epoch.accuracy:.2%}"
    Console().print(line, highlight=False, markup=False, soft_wrap=True)


def show(record: dict[str, object], folder: Path) -> None:
    """The table, and where to look."""
    from rich.table import Table

    from cannon_fx.compare.page import table
    from cannon_fx.compare.summary import points

    console, found = Console(), points(record["runs"])  # type: ignore[arg-type]
    for network, chip in dict.fromkeys((point.network, point.chip) for point in found):
        shown = Table("method", "budget", "accuracy (%)", "energy", "latency", "EDP", title=f"{network} on {chip}")
        for row in table([point for point in found if (point.network, point.chip) == (network, chip)]):
            shown.add_row(*row[:2], row[3], *row[6:9])
        console.print(shown)
    console.print("Against dense; means over seeds. *: more than half a point below dense.", highlight=False)
    console.print(f"report: {folder / 'compare.html'}", highlight=False, markup=False, soft_wrap=True)
