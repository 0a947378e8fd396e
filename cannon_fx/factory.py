"""Loading a user's model, "package.module:factory", with arguments or without; and weights for it."""

from __future__ import annotations

import ast
import builtins
import importlib
import io
import sys
import tokenize
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import safetensors.torch
import torch
from torch import nn

from cannon_fx.errors import RunError
from cannon_fx.zoo.torchvision_ops import import_torchvision


def import_here(name: str) -> ModuleType:
    """A module by name; those in the current folder are found too."""
    if str(Path.cwd()) not in sys.path:  # a console script, unlike python -m, does not look there
        sys.path.insert(0, str(Path.cwd()))
    return importlib.import_module(name)


def load_model(spec: str) -> nn.Module:
    """The module that `spec` makes; modules in the current folder are found too. Raises RunError.

    Arguments are Python: see `evaluate`.
    """
    if not all(spec.partition(":")):
        raise RunError(f"model {spec!r} is not of the form package.module:factory, e.g. mynets.resnet:resnet20.")
    try:
        made = evaluate(spec)
        model = made() if callable(made) and not isinstance(made, nn.Module) else made
    except Exception as error:  # a user's module may raise anything
        raise RunError(
            f"model {spec!r} cannot be made: {type(error).__name__}: {error}. It is written package.module:factory, "
            "or package.module:factory(…) with arguments as in Python; check that it works there."
        ) from error
    if not isinstance(model, nn.Module):
        raise RunError(f"model {spec!r} gave a {type(model).__name__}; its factory must return a torch.nn.Module.")
    return model


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Loads a state_dict, .safetensors or what torch.save wrote, strictly into `model`. Raises RunError."""
    path = Path(path).expanduser()
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state)
    except Exception as error:  # a damaged file, or one of another network, fails in many ways
        reason = " ".join(str(error).split())[:300]
        raise RunError(
            f"the weights {str(path)!r} cannot be loaded into {type(model).__name__}: {reason}. Give a state_dict of "
            "this network, as .safetensors or written by torch.save."
        ) from error


def evaluate(expression: str) -> Any:
    """The value of a Python expression that imports what it names.

    `package.module:name` and `package.module.name` are looked up in that module, and a bare name beside the first of
    them: `transformers:BertModel(BertConfig(hidden_size=64))`, `torch.nn:Sequential(Linear(8, 4), torch.nn.ReLU())`.
    """
    tree, modules = parsed(expression)
    packages = {module.partition(".")[0] for module in modules}
    if packages & {"timm", "torchvision", "transformers"}:  # the others import it too
        import_torchvision()
    names = _Names({package: import_here(package) for package in packages})
    names.beside = [import_here(module) for module in modules][:1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            with suppress(ModuleNotFoundError):  # the name of an object, not of a module
                import_here(ast.unparse(node.value))
    return eval(compile(tree, expression, "eval"), {}, names)  # naming code to run it is what a factory is for


class _Names(dict[str, Any]):
    """Names that are not given are looked up beside the factory, among builtins, and as packages."""

    beside: list[ModuleType]

    def __missing__(self, name: str) -> Any:
        for place in (*self.beside, builtins):
            if hasattr(place, name):
                return getattr(place, name)
        try:
            return import_here(name)
        except ModuleNotFoundError:
            raise NameError(f"{name!r} is no package, and nothing beside the factory") from None


def tokens_of(text: str) -> list[tokenize.TokenInfo]:
    """The Python tokens of a line. Raises SyntaxError."""
    ends = (tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER)
    try:
        return [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type not in ends]
    except tokenize.TokenError as error:
        raise SyntaxError("a bracket or a string is not closed") from error


def parsed(expression: str) -> tuple[ast.Expression, list[str]]:
    """The expression with a dot for each colon of `package.module:name`, and those modules. Raises SyntaxError."""
    tokens, letters, modules = tokens_of(expression), list(expression), []
    for k, token in enumerate(tokens[1:-1], 1):
        before, after = tokens[k - 1], tokens[k + 1]
        touching = before.end == token.start and token.end == after.start
        if token.string == ":" and touching and before.type == after.type == tokenize.NAME:
            first = k - 1
            while first > 1 and tokens[first - 1].string == ".":
                first -= 2
            modules.append("".join(t.string for t in tokens[first:k]))
            letters[token.start[1]] = "."
    return ast.parse("".join(letters), mode="eval"), modules
