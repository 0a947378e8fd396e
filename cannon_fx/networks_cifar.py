"""Networks for 32x32 colour images and ten classes, untrained."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cannon_fx.networks import BasicBlock

CLASSES = 10


class PaddedBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut without weights: every second pixel, and zeros for new channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.missing = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.missing:
            before = self.missing // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.missing - before))
        return F.relu(inner + x)


class ThreeStages(nn.Module):
    """He et al., CVPR 2016, section 4.2: 16, 32 and 64 channels, `blocks` blocks each; 6 x blocks + 2 layers."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(
                PaddedBlock(max(16, width // 2), width, 1 if width == 16 else 2),
                *(PaddedBlock(width, width, 1) for _ in range(blocks - 1)),
            )
            for width in (16, 32, 64)
        )
        self.linear = nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


def resnet20() -> nn.Module:
    """ResNet-20; 0.27 million parameters."""
    return ThreeStages(3)


def resnet56() -> nn.Module:
    """ResNet-56; 0.86 million parameters."""
    return ThreeStages(9)


class FourStages(nn.Module):
    """ResNet-18's blocks behind a 3x3 stem that keeps the 32x32 pixels; `width` channels in the first stage."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.stages = nn.Sequential(
            *(
                BasicBlock(width << max(0, stage - (block == 0)), width << stage, 2 if stage and not block else 1)
                for stage in range(4)
                for block in range(2)
            )
        )
        self.linear = nn.Linear(8 * width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.stages(F.relu(self.bn1(self.conv1(x)))).mean((2, 3)))


def resnet18() -> nn.Module:
    """ResNet-18 for CIFAR; 11.2 million parameters."""
    return FourStages(64)


def vgg(*widths: int) -> nn.Module:
    """3x3 convolutions with batch norm, of so many channels each; 0 halves the image."""
    layers: list[nn.Module] = []
    channels = 3
    for width in widths:
        if width == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


def vgg16_bn() -> nn.Module:
    """VGG-16 with batch norm and one linear layer; 14.7 million parameters."""
    return vgg(64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)


def vgg16_quarter() -> nn.Module:
    """VGG-16 with a quarter of the channels, for machines without a GPU; 0.92 million parameters."""
    return vgg(16, 16, 0, 32, 32, 0, 64, 64, 64, 0, 128, 128, 128, 0, 128, 128, 128, 0)


class DenseLayer(nn.Module):
    """A 3x3 convolution that adds `growth` channels to its input's."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(F.relu(self.norm(x)))], 1)


def densenet40() -> nn.Module:
    """DenseNet-40 with growth 12 (Huang et al., CVPR 2017); 1.0 million parameters."""
    channels, growth = 16, 12
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1, bias=False)]
    for stage in range(3):
        if stage:
            layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels, 1, bias=False)]
            layers.append(nn.AvgPool2d(2))
        for _ in range(12):
            layers.append(DenseLayer(channels, growth))
            channels += growth
    tail = [nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]
    return nn.Sequential(*layers, *tail)


class InvertedResidual(nn.Module):
    """1x1 up to `factor` times the channels, depthwise 3x3, 1x1 down; a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int, factor: int) -> None:
        super().__init__()
        inner = inputs * factor
        self.up = nn.Sequential(nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU6())
        depthwise = nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False)
        self.depthwise = nn.Sequential(depthwise, nn.BatchNorm2d(inner), nn.ReLU6())
        self.down = nn.Sequential(nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        inner = self.down(self.depthwise(self.up(x)))
        return x + inner if self.shortcut else inner


def mobilenet_v2() -> nn.Module:
    """MobileNetV2 (Sandler et al., CVPR 2018) with the first two strides taken out; 2.3 million parameters."""
    layers: list[nn.Module] = [nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU6()]
    channels = 32
    stages = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for factor, outputs, many, stride in stages:
        for block in range(many):
            layers.append(InvertedResidual(channels, outputs, stride if block == 0 else 1, factor))
            channels = outputs
    head = [nn.Conv2d(channels, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU6()]
    return nn.Sequential(*layers, *head, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, CLASSES))


class EncoderLayer(nn.Module):
    """Attention and a feed-forward part, each behind its own norm and around a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        query, key, value = (
            layer(y).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        x = x + self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class SmallViT(nn.Module):
    """A vision transformer on 4x4 patches, with the mean of its tokens for a class token."""

    def __init__(self, width: int = 192, depth: int = 6, heads: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.position = nn.Parameter(torch.randn(1, 64, width) * 0.02)
        self.layers = nn.Sequential(*(EncoderLayer(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.layers(tokens)).mean(1))


def vit_small() -> nn.Module:
    """SmallViT; 2.7 million parameters."""
    return SmallViT()
