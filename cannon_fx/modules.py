"""Block-sparse layers: nn.Linear and nn.Conv2d whose cut connections are exact zeros and stay so.

They are subclasses with the same parameters under the same names, so state_dict keys, optimisers built
before the swap, and code that reads `.weight` keep working.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cannon_fx.kernels import decompositions as decompositions  # registers what exporters look up
from cannon_fx.kernels import zero
from cannon_fx.kernels.choice import Choice, choose
from cannon_fx.kernels.functional import block_sparse_conv2d, block_sparse_linear
from cannon_fx.kernels.narrow import Columns, narrow
from cannon_fx.kernels.pattern import BlockPattern
from cannon_fx.kernels.reference import masked_weight
from cannon_fx.layer import Layer

log = logging.getLogger(__name__)

DENSE = Choice(False, "dense: for this call")


def pattern_of(layer: Layer, keep: Tensor | None = None) -> BlockPattern:
    """The blocks of a layer's weight, one per connection, of which `keep`, bool [J, G], are kept; all without it."""
    if keep is None:
        keep = torch.ones(layer.column_blocks, layer.groups, dtype=torch.bool)
    return BlockPattern(keep, layer.out_channels, layer.in_channels, layer.out_block, layer.group_size)


class BlockSparse(nn.Module):
    """What both layers share: a pattern of kept connections, and the mask it makes of the weight.

    Each layer is computed by its block-sparse kernel or by torch's dense op on the masked weight, whichever is
    estimated to be faster; `choice` says which and why, and so does printing the model.
    """

    pattern: BlockPattern
    mask: Tensor
    """The kept weights, bool [out, in]"""
    positions: int
    called: bool
    """False where another module reads the weight, and this one's forward does not run"""
    choice: Choice
    zeroed: tuple[Tensor | None, int]
    """The weight, and the version of it, in which everything cut was set to zero"""
    columns: Columns
    """The input channels that are read, where the choice is narrow"""
    own: tuple[Tensor]
    """The weight that may be zeroed in place: what else stands in its place may belong to others"""
    hooked: tuple[Tensor | None]
    """The weight whose gradient is masked by a hook, where forward cannot do it"""
    weight: Tensor  # the layer class's own parameter

    @classmethod
    def of(cls, module: nn.Module, layer: Layer) -> Self:
        """`module` itself, which becomes block-sparse with nothing cut; whoever refers to it keeps doing so."""
        object.__setattr__(module, "__class__", cls)
        assert isinstance(module, cls)
        module.register_buffer("mask", torch.empty(0, dtype=torch.bool), persistent=False)
        module.positions, module.called, module.hooked = layer.positions, layer.called, (None,)
        module._set(pattern_of(layer))
        module._hook()
        return module

    def __setstate__(self, state: dict[str, Any]) -> None:
        """For copies and pickles, which bring neither a tensor's hooks nor its version."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.zeroed, self.own, self.hooked = (None, 0), (self.weight,), (None,)
        self._hook()

    def _hook(self) -> None:
        """Masks the gradient of what is cut where forward does not run."""
        if not self.called and self.weight.requires_grad and self.hooked[0] is not self.weight:
            self.weight.register_hook(self._masked_gradient)
            self.hooked = (self.weight,)

    def _set(self, pattern: BlockPattern) -> None:
        self.pattern, self.mask = pattern, pattern.spread(pattern.keep).to(self.weight.device)
        self.dense, self.zeroed, self.own = bool(pattern.keep.all()), (None, 0), (self.weight,)
        self._choose()

    def _choose(self) -> None:
        if not self.called:
            self.choice = Choice(False, "dense: another module reads its weight")
            return
        weight = self.weight
        taps, macs = math.prod(weight.shape[2:]), weight.numel() * self.positions
        self.choice = choose(self.pattern, taps, macs, weight.device, weight.dtype, narrow=True)
        # Made here, not while a compiler traces.
        if self.choice.sparse:
            self.pattern.lists(weight.device)
        if self.choice.narrow:
            self.columns = Columns.of(self.pattern, weight.device)
        log.debug("%s: %s", type(self).__name__, self.choice.why)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """To another device or dtype, where another choice may be right."""
        own = self.own[0] is self.weight
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if own:
            self.own = (self.weight,)
        self._choose()
        self._hook()
        return self

    def choice_for(self, input: Tensor) -> Choice:
        """The choice for a call; dense for a batch that is too small, or of which a compiler leaves the size open."""
        if torch.is_grad_enabled():
            self.zeroed = None, 0  # an optimiser may follow, and fused ones count no versions
        choice = self.choice
        if choice.samples > 1:
            few = torch.compiler.is_compiling() or len(input) < choice.samples
            if few or input.dim() < self.weight.dim():  # one sample, without a dimension for the batch
                return DENSE
        return DENSE if choice.narrow and input.is_nested else choice

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {self.choice.why}"

    def matrix(self, values: Tensor) -> Tensor:
        """The view [out, in, ...] of a tensor that lies like the weight, and back."""
        return values

    def dense_weight(self) -> Tensor:
        """The matrix [out, in, ...] that counts, for forward's dense op alone: its gradient may be written in place.

        Masking takes longer than the layer for a few rows. So it is left out where nothing is cut, where the weight is
        this module's own and can be zeroed in place, and in inference as long as the weight is what zero_cut_ left: no
        gradient was wanted since, and torch counts no new version.
        """
        weight, matrix = self.weight, self.matrix(self.weight)
        if self.dense:
            return matrix
        if not (torch.is_grad_enabled() or torch.compiler.is_compiling()):
            zeroed, version = self.zeroed
            if zeroed is weight and version == weight._version:
                return matrix
        if weight is self.own[0] and zero.in_place(weight):
            return zero.kept_(matrix, self.pattern)
        return masked_weight(matrix, self.mask)

    def without_kernels(
        self, op: Callable[[Tensor, Tensor], Tensor], input: Tensor, dim: int, choice: Choice
    ) -> Tensor:
        """`op`, dense, of the input, whose dimension `dim` is the channels, and of the matrix that counts."""
        if not choice.narrow:
            return op(input, self.dense_weight())
        matrix = self.matrix(self.weight) if self.columns.whole else self.dense_weight()
        return narrow(op, input, matrix, self.columns, dim)

    def _masked_gradient(self, gradient: Tensor) -> Tensor:
        return gradient if self.dense else self.matrix(masked_weight(self.matrix(gradient), self.mask))

    @torch.no_grad()
    def cut(self, keep: Tensor) -> None:
        """Keep only the connections where `keep`, bool [J, G], is True; the others' weights become zero."""
        old = self.pattern
        self._set(BlockPattern(keep.cpu().clone(), old.out_channels, old.in_channels, old.out_block, old.group_size))
        self.zero_cut_()

    @torch.no_grad()
    def zero_cut_(self) -> None:
        """Put back to zero what an optimiser's momentum has moved away from it."""
        if not self.dense:
            matrix = self.matrix(self.weight)
            if zero.in_place(self.weight):
                zero.zero_cut_(matrix, self.pattern)
            else:
                matrix.copy_(masked_weight(matrix, self.mask))
            if not self.weight.is_inference():  # which counts no versions
                self.zeroed = self.weight, self.weight._version


class BlockSparseLinear(BlockSparse, nn.Linear):
    """nn.Linear with cut connections."""

    def forward(self, input: Tensor) -> Tensor:
        choice = self.choice_for(input)
        if choice.sparse:
            return block_sparse_linear(input, self.weight, self.pattern, self.bias)
        return self.without_kernels(lambda x, weight: F.linear(x, weight, self.bias), input, -1, choice)


class BlockSparseConv2d(BlockSparse, nn.Conv2d):
    """nn.Conv2d (groups = 1) with cut connections."""

    def forward(self, input: Tensor) -> Tensor:
        choice = self.choice_for(input)
        if choice.sparse:
            return self._sparse(input)
        # nn.Conv2d's own second half, which also knows the padding modes.
        return self.without_kernels(lambda x, weight: self._conv_forward(x, weight, self.bias), input, -3, choice)

    def _sparse(self, input: Tensor) -> Tensor:
        left, right, top, bottom = self._reversed_padding_repeated_twice
        padding = (top, left)
        if self.padding_mode != "zeros" or (left, top) != (right, bottom):
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            input, padding = F.pad(input, (left, right, top, bottom), mode), (0, 0)
        geometry = _pair(self.stride), padding, _pair(self.dilation), self.groups
        output = block_sparse_conv2d(input, self.weight, self.pattern, self.bias, *geometry)
        # As nn.Conv2d does: what follows may view it.
        return output.contiguous() if input.is_contiguous() else output


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    first, second = values
    return first, second


class BlockSparseTransposed(BlockSparse):
    """A linear layer that keeps its weight as [in, out], with cut connections."""

    bias: Tensor

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Its class is made when it is needed: a pickle names the layer class."""
        _, kind = type(self).__bases__
        return _new_twin, (kind,), self.__dict__

    def matrix(self, values: Tensor) -> Tensor:
        return values.t()

    def forward(self, input: Tensor) -> Tensor:
        choice = self.choice_for(input)
        if choice.sparse:
            return block_sparse_linear(input, self.matrix(self.weight), self.pattern, self.bias)
        if self.dense:
            return super().forward(input)  # the layer class's own
        return self.without_kernels(lambda x, weight: F.linear(x, weight, self.bias), input, -1, choice)


TWIN: dict[type[nn.Module], type[BlockSparse]] = {
    nn.Linear: BlockSparseLinear,
    nn.modules.linear.NonDynamicallyQuantizableLinear: BlockSparseLinear,  # nn.MultiheadAttention's out_proj
    nn.Conv2d: BlockSparseConv2d,
}
"""The block-sparse class of each layer class; only exact classes, since a subclass may compute something else."""

TRANSPOSED = {"transformers.pytorch_utils.Conv1D"}
"""Names of classes that are linear layers with `weight` as [in, out] and `bias`; GPT-2's, which is no convolution."""


def is_matrix(module: nn.Module | None) -> bool:
    """True for linear layers and convolutions, whether they can be mapped or not."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.modules.conv._ConvTransposeNd)
    return isinstance(module, kinds) or _name(type(module)) in TRANSPOSED


def matrix_of(module: nn.Module) -> Tensor:
    """The weight of a module that is_matrix, as [out, in, ...]."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.t() if isinstance(module, BlockSparseTransposed) or _name(type(module)) in TRANSPOSED else weight


def twin_of(kind: type[nn.Module]) -> type[BlockSparse] | None:
    """The block-sparse class of a layer class, None if it has none."""
    if kind not in TWIN and _name(kind) in TRANSPOSED:
        TWIN[kind] = type(f"BlockSparse{kind.__name__}", (BlockSparseTransposed, kind), {"__module__": __name__})
    return TWIN.get(kind)


def _new_twin(kind: type[nn.Module]) -> BlockSparse:
    """Of a layer class, without state."""
    twin = twin_of(kind)
    assert twin is not None, "it had one when it was pickled"
    return twin.__new__(twin)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def block_sparse(module: nn.Module, layer: Layer) -> BlockSparse:
    """The module itself, of the block-sparse class that its own has."""
    twin = twin_of(type(module))
    assert twin is not None, "the Partition pass maps no other modules"
    return twin.of(module, layer)
