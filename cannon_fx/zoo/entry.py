"""One line of a zoo list: which model, and what it is given.

    torchvision.models:resnet18(num_classes=10)  float[2,3,64,64]
    transformers:BertModel(transformers.BertConfig(num_hidden_layers=2))  input_ids=int[2,16]<1000  return_dict=True

First a factory, `package.module:function` or class, with arguments as in Python: literals, and calls of what a module
holds, such as a configuration. Then its inputs, by position or by name: tensors as `[name=][dtype]shape` with a shape
in brackets, or sizes with commas or x between them; `<n` behind an integer dtype's shape is the number of different
values. Anything else behind a name is a literal. `#` starts a comment.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cannon_fx.errors import RunError
from cannon_fx.factory import import_here

DTYPES = {
    "": torch.float32,
    "float": torch.float32,
    "int": torch.int64,
    "long": torch.int64,
    **{str(d).removeprefix("torch."): d for d in (torch.float32, torch.float64, torch.int32, torch.int64, torch.bool)},
}
_SIZES = r"\d+(?:\s*[,x]\s*\d+)*"
_TENSOR = re.compile(
    rf"(?P<dtype>[a-z]*\d*)\s*(?:\[(?P<b>{_SIZES})\]|\((?P<p>{_SIZES}),?\)|(?P<s>{_SIZES}))(?:<(?P<below>\d+))?"
)
_WORD = re.compile(r"(?:[^\s\[\]()'\"]|\[[^\]]*\]|\([^)]*\)|'[^']*'|\"[^\"]*\")+")


@dataclass(frozen=True)
class Entry:
    """A line of a list, and its parts as text."""

    line: str
    factory: str
    arguments: str
    inputs: tuple[str, ...]

    @classmethod
    def parse(cls, line: str, where: str) -> Entry:
        """Raises RunError for a line that is none; `where` names it."""
        match = re.match(r"([\w.]+:[\w.]+)\s*", line)
        if match is None:
            raise RunError(f"{where}: {line!r} does not begin with package.module:factory.")
        rest = line[match.end() :]
        arguments = ""
        if rest.startswith("(") and line[match.end(1) : match.end()] == "":
            end = _closing(rest)
            if end < 0:
                raise RunError(f"{where}: a parenthesis of {line!r} is not closed.")
            arguments, rest = rest[1:end], rest[end + 1 :]
        entry = cls(line, match[1], arguments, tuple(_WORD.findall(rest)))
        if not entry.inputs:
            raise RunError(f"{where}: {line!r} says nothing of the model's inputs. Add e.g. float[2,3,64,64].")
        try:
            ast.parse(f"f({arguments})", mode="eval")
            entry.example()
        except (ValueError, SyntaxError) as error:
            raise RunError(f"{where}: {line!r}: {error}.") from error
        return entry

    def build(self) -> nn.Module:
        """The model, with random weights from a fixed seed."""
        module, _, name = self.factory.partition(":")
        call = ast.parse(f"f({self.arguments})", mode="eval").body
        assert isinstance(call, ast.Call)
        torch.manual_seed(0)
        model = _attribute(module, name)(*map(_argument, call.args), **_keywords(call))
        if not isinstance(model, nn.Module):
            raise RunError(f"{self.factory} gives a {type(model).__name__}, not an nn.Module.")
        return model

    def example(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword inputs, tensors with random values from a fixed seed."""
        generator = torch.Generator().manual_seed(0)
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for word in self.inputs:
            name, equals, value = word.partition("=")
            if equals and name.isidentifier():
                named[name] = _input(value, generator)
            else:
                positional.append(_input(word, generator))
        return tuple(positional), named


def parse_list(text: str, origin: str) -> list[Entry]:
    """The entries of a list. Raises RunError with the line that is wrong, and for a list without entries."""
    lines = [(n, line.partition("#")[0].strip()) for n, line in enumerate(text.splitlines(), 1)]
    entries = [Entry.parse(line, f"{origin}, line {n}") for n, line in lines if line]
    if not entries:
        raise RunError(f"{origin} holds no models. Give lines such as torchvision.models:resnet18 float[2,3,64,64].")
    return entries


def _closing(text: str) -> int:
    """Where the parenthesis that `text` begins with closes; -1 if nowhere. Strings may hold others."""
    depth, quote = 0, ""
    for index, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
            if depth == 0:
                return index
    return -1


def _input(text: str, generator: torch.Generator) -> Any:
    match = _TENSOR.fullmatch(text)
    # A bare number behind a name is a number; a shape of one size is written [n].
    if match is None or (match["s"] and not match["dtype"] and "," not in text and "x" not in text):
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError) as error:
            raise ValueError(f"{text!r} is neither a tensor such as float[2,3,64,64] nor a literal") from error
    if match["dtype"] not in DTYPES:
        raise ValueError(f"{text!r}: unknown dtype {match['dtype']!r}, not one of {', '.join(filter(None, DTYPES))}")
    dtype, shape = DTYPES[match["dtype"]], [int(n) for n in re.findall(r"\d+", match["b"] or match["p"] or match["s"])]
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator, dtype=dtype)
    if dtype == torch.bool:
        return torch.ones(shape, dtype=dtype)
    return torch.randint(0, int(match["below"] or 100), shape, generator=generator, dtype=dtype)


def _attribute(module: str, name: str) -> Any:
    found: Any = import_here(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _keywords(call: ast.Call) -> dict[str, Any]:
    return {k.arg: _argument(k.value) for k in call.keywords if k.arg}


def _argument(node: ast.expr) -> Any:
    """A literal, or a call of something in a module: `transformers.BertConfig(hidden_size=64)`."""
    if isinstance(node, ast.Call):
        module, _, name = ast.unparse(node.func).rpartition(".")
        return _attribute(module, name)(*map(_argument, node.args), **_keywords(node))
    return ast.literal_eval(node)


def tensors_of(value: Any) -> list[Tensor]:
    """All tensors in a nested value, in order."""
    return [leaf for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, Tensor)]
