"""The grammar of zoo lists."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cannon_fx import RunError
from cannon_fx.zoo.entry import Entry, parse_list
from cannon_fx.zoo.lists import entries_of, names


def entry(line: str) -> Entry:
    return Entry.parse(line, "here")


@pytest.mark.parametrize(
    "inputs", ["float[2,3,8,8]", "2,3,8,8", "(2,3,8,8)", "[2, 3, 8, 8]", "2x3x8x8", "float32(2, 3, 8, 8)"]
)
def test_shapes_may_be_written_as_one_likes(inputs: str) -> None:
    (x,), named = entry(f"torch.nn:Identity {inputs}").example()
    assert (tuple(x.shape), x.dtype, named) == ((2, 3, 8, 8), torch.float32, {})


def test_names_dtypes_and_literals() -> None:
    positional, named = entry("torch.nn:Identity bool[4] ids=int[2,16]<7 scale=0.5 use_cache=False k=3").example()
    assert positional[0].dtype == torch.bool
    assert named["ids"].dtype == torch.int64
    assert 0 <= int(named["ids"].min()) <= int(named["ids"].max()) < 7
    assert (named["scale"], named["use_cache"], named["k"]) == (0.5, False, 3)


def test_arguments_are_python_with_calls() -> None:
    model = entry("torch.nn:Sequential(torch.nn.Linear(4, 8, bias=False), torch.nn.ReLU()) 2,4").build()
    assert isinstance(model, nn.Sequential)
    assert model[0].weight.shape == (8, 4)
    assert model[0].bias is None


def test_names_beside_the_factory_need_no_module() -> None:
    model = entry("torch.nn:Sequential(Linear(4, 8, dtype=torch.float64), torch.nn:ReLU())[0] 2,4").build()
    assert isinstance(model, nn.Linear)
    assert model.weight.dtype == torch.float64


def test_what_follows_a_call_belongs_to_the_factory() -> None:
    assert isinstance(
        entry("torch.nn:Transformer(d_model=8, nhead=2).encoder src=4,2,8").build(), nn.TransformerEncoder
    )


def test_inputs_may_be_python() -> None:
    positional, named = entry("torch.nn:Identity [torch.ones(2, 3), torch.zeros((2, 3))] mask=torch.eye(3)").example()
    assert [tuple(tensor.shape) for tensor in positional[0]] == [(2, 3), (2, 3)]
    assert torch.equal(named["mask"], torch.eye(3))


def test_names_that_forward_does_not_know_are_names_only() -> None:
    line = entry("torch.nn:Bilinear(4, 3, 2) x=2,4 y=2,3")
    (x, y), named = line.arguments(line.build())
    assert (tuple(x.shape), tuple(y.shape), named) == ((2, 4), (2, 3), {})
    line = entry("torch.nn:Bilinear(4, 3, 2) input2=2,3 input1=2,4")
    positional, named = line.arguments(line.build())
    assert (positional, list(named)) == ((), ["input2", "input1"])


def test_the_same_line_gives_the_same_model_and_inputs() -> None:
    first, second = (entry("torch.nn:Linear(4, 4) 2,4") for _ in range(2))
    assert torch.equal(first.build().weight, second.build().weight)
    assert torch.equal(first.example()[0][0], second.example()[0][0])


@pytest.mark.parametrize("name", names())
def test_the_lists_of_the_package_can_be_read(name: str) -> None:
    entries = entries_of(name)
    assert len(entries) == len({e.line for e in entries})
    assert len(entries) >= {"torchvision": 80, "timm": 60, "transformers": 18}[name]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("resnet18 2,3,8,8", "does not begin with package.module:factory"),
        ("torch.nn:Identity", "says nothing of the model's inputs"),
        ("torch.nn:Linear(4, 4 2,4", "is not closed"),
        ("torch.nn:Linear(4 4) 2,4", "invalid syntax"),
        ("torch.nn:Identity half[2]", "unknown dtype 'half'"),
        ("torch.nn:Identity x=what", "neither a tensor"),
    ],
)
def test_what_is_no_line_is_refused(line: str, message: str) -> None:
    with pytest.raises(RunError, match="mine, line 2") as caught:
        parse_list(f"# mine\n{line}\n", "mine")
    assert message in str(caught.value)


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(RunError, match="holds no models"):
        parse_list("# nothing\n", "mine")


def test_an_unknown_list_is_refused() -> None:
    with pytest.raises(RunError, match="none of timm, torchvision, transformers, and no file"):
        entries_of("nowhere.txt")


def test_a_factory_of_something_else_is_refused() -> None:
    with pytest.raises(RunError, match=r"must return a torch\.nn\.Module"):
        entry("collections:OrderedDict() 1,2").build()
