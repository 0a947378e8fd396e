"""One line of a zoo list: which model, and what it is given.

    torchvision.models:resnet18(num_classes=10)  float[2,3,64,64]
    transformers:BertModel(BertConfig(num_hidden_layers=2))  input_ids=int[2,16]<1000  return_dict=True

First a factory, `package.module:function` or class, with arguments as in Python (see cannon_fx.factory). Then its
inputs, by position or by name: tensors as `[name=][dtype]shape` with a shape in brackets, or sizes with commas or x
between them; `<n` behind an integer dtype's shape is the number of different values. Anything else is Python too.
`#` starts a comment.
"""

from __future__ import annotations

import inspect
import itertools
import math
import re
import tokenize
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cannon_fx.errors import RunError
from cannon_fx.factory import evaluate, load_model, parsed, tokens_of
from cannon_fx.inputs import Arguments

DTYPES = {
    "": torch.float32,
    "float": torch.float32,
    "int": torch.int64,
    "long": torch.int64,
    **{str(d).removeprefix("torch."): d for d in (torch.float32, torch.float64, torch.int32, torch.int64, torch.bool)},
}
MOST_ELEMENTS = 100_000_000
"""Of one input."""

_SIZES = r"\d+(?:\s*[,x]\s*\d+)*"
_TENSOR = re.compile(
    rf"(?P<dtype>[a-z]*\d*)\s*(?:\[(?P<b>{_SIZES})\]|\((?P<p>{_SIZES}),?\)|(?P<s>{_SIZES}))(?:<(?P<below>\d+))?"
)


@dataclass(frozen=True)
class Entry:
    """A line of a list, and its parts as text."""

    line: str
    factory: str
    inputs: tuple[str, ...]

    @classmethod
    def parse(cls, line: str, where: str) -> Entry:
        """Raises RunError for a line that is none; `where` names it."""
        try:
            factory, *inputs = _words(line)
            if not re.match(r"[\w.]+:\w", factory):
                raise RunError(f"{where}: {line!r} does not begin with package.module:factory.")
            if not inputs:
                raise RunError(f"{where}: {line!r} says nothing of the model's inputs. Add e.g. float[2,3,64,64].")
            parsed(factory)
            entry = cls(line, factory, tuple(inputs))
            entry.example()
        except (ValueError, SyntaxError, RecursionError) as error:
            raise RunError(f"{where}: {line!r}: {error}.") from error
        return entry

    def build(self) -> nn.Module:
        """The model, with random weights from a fixed seed. Raises RunError."""
        torch.manual_seed(0)
        return load_model(self.factory)

    def example(self) -> Arguments:
        """Positional and keyword inputs, tensors with random values from a fixed seed."""
        positional: list[Any] = []
        named: dict[str, Any] = {}
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            for word in self.inputs:
                name, equals, value = word.partition("=")
                if equals and name.strip().isidentifier() and not value.startswith("="):
                    named[name.strip()] = _input(value.strip())
                else:
                    positional.append(_input(word))
        return tuple(positional), named

    def arguments(self, model: nn.Module) -> Arguments:
        """`example` as `model` takes it: if forward knows none of the names, they are names only, and order counts."""
        positional, named = self.example()
        known = inspect.signature(model.forward).parameters.values()
        by_name = any(p.name in named or p.kind is inspect.Parameter.VAR_KEYWORD for p in known)
        return (positional, named) if by_name else ((*positional, *named.values()), {})


def parse_list(text: str, origin: str) -> list[Entry]:
    """The entries of a list. Raises RunError with the line that is wrong, and for a list without entries."""
    lines = [(n, line.partition("#")[0].strip()) for n, line in enumerate(text.splitlines(), 1)]
    entries = [Entry.parse(line, f"{origin}, line {n}") for n, line in lines if line]
    if not entries:
        raise RunError(f"{origin} holds no models. Give lines such as torchvision.models:resnet18 float[2,3,64,64].")
    return entries


def _words(line: str) -> list[str]:
    """The line cut at blanks, but not inside brackets and strings, nor beside an operator."""
    tokens, starts, depth = tokens_of(line), [0], 0
    for before, token in itertools.pairwise(tokens):
        depth += (before.string in ("(", "[", "{")) - (before.string in (")", "]", "}"))
        open_ended = before.type == tokenize.OP and before.string not in (")", "]", "}")
        goes_on = token.type == tokenize.OP and token.string not in ("(", "[", "{")
        if depth == 0 and before.end != token.start and not open_ended and not goes_on:
            starts.append(token.start[1])
    return [line[start:end].strip() for start, end in itertools.pairwise([*starts, len(line)])]


def _input(text: str) -> Any:
    match = _TENSOR.fullmatch(text)
    # A bare number behind a name is a number; a shape of one size is written [n].
    if match is None or (match["s"] and not match["dtype"] and "," not in text and "x" not in text):
        try:
            return evaluate(text)
        except Exception as error:  # any Python may stand here
            why = f"{type(error).__name__}: {error}"
            raise ValueError(f"{text!r} is neither a tensor such as float[2,3,64,64] nor Python ({why})") from error
    if match["dtype"] not in DTYPES:
        raise ValueError(f"{text!r}: unknown dtype {match['dtype']!r}, not one of {', '.join(filter(None, DTYPES))}")
    dtype, shape = DTYPES[match["dtype"]], [int(n) for n in re.findall(r"\d+", match["b"] or match["p"] or match["s"])]
    if math.prod(shape) > MOST_ELEMENTS:
        raise ValueError(f"{text!r} has more than {MOST_ELEMENTS:,} elements")
    below = int(match["below"] or 100)
    if not 0 < below < 2**31:
        raise ValueError(f"{text!r}: the number of different values is at least 1 and below 2^31")
    if dtype.is_floating_point:
        return torch.randn(shape).to(dtype)
    if dtype == torch.bool:
        return torch.ones(shape, dtype=dtype)
    return torch.randint(0, below, shape, dtype=dtype)


def tensors_of(value: Any) -> list[Tensor]:
    """All tensors in a nested value, in order."""
    return [leaf for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, Tensor)]
