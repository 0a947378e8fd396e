"""ONNX: a sparse network out by torch.onnx.export, a file in by onnx2torch; both against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from cannon_fx import apply_cannon
from cannon_fx.kernels.choice import Choice
from cannon_fx.zoo.torchvision_ops import import_torchvision

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def outputs(path: Path, x: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(path)
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    return torch.from_numpy(found)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sparse", [False, True])
def test_out(network: nn.Module, image: Tensor, sparse: bool, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    applied = apply_cannon(network.eval(), image, chip="demo-32nm", group_size=2)
    for k, module in enumerate(applied.modules.values()):
        module.cut(torch.rand(module.pattern.shape, generator=torch.Generator().manual_seed(k)) < 0.5)
        module.choice = Choice(sparse, "to test it")
        module.pattern.lists(image.device)
    path = tmp_path / "network.onnx"
    program = torch.onnx.export(network, (image,), dynamo=True, dynamic_shapes=({0: Dim("n")},), verbose=False)
    program.save(path)
    onnx.checker.check_model(onnx.load(path))
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(outputs(path, images), network(images), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_in(tmp_path: Path) -> None:
    """A file that PyTorch has never seen becomes modules, whose layers are mapped and cut."""
    import_torchvision()  # which onnx2torch imports
    onnx2torch = pytest.importorskip("onnx2torch")
    rng = np.random.default_rng(0)
    weights = {"w": (8, 2, 3, 3), "b": (8,), "v": (10, 8 * 16), "c": (10,)}
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w", "b"], ["h"], name="conv", pads=[1, 1, 1, 1]),
        onnx.helper.make_node("Relu", ["h"], ["r"], name="relu"),
        onnx.helper.make_node("Flatten", ["r"], ["f"], name="flat"),
        onnx.helper.make_node("Gemm", ["f", "v", "c"], ["y"], name="head", transB=1),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "network",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 2, 4, 4])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 10])],
        [onnx.numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n) for n, s in weights.items()],
    )
    path = tmp_path / "network.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8), path)
    model, x = onnx2torch.convert(path), torch.randn(3, 2, 4, 4)
    applied = apply_cannon(model, x, chip="demo-32nm", group_size=2)
    assert [(layer.kind, layer.weight_shape) for layer in applied.layers] == [
        ("conv2d", (8, 2, 3, 3)),
        ("linear", (10, 128)),
    ]
    torch.testing.assert_close(model(x), outputs(path, x), rtol=1e-4, atol=1e-4)
    head = applied.modules[applied.layers[1].name]
    head.cut(torch.zeros(head.pattern.shape, dtype=torch.bool))
    assert torch.equal(model(x), torch.tensor(onnx.numpy_helper.to_array(graph.initializer[3])).expand(3, 10))
