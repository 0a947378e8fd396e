"""A model of timm, fine-tuned to two thirds of its communication energy: `timm_finetune.py resnet18.a1_in1k`.

The data are scikit-learn's digits, enlarged to the model's own input size; put your loaders in their place. With
`--random` nothing is downloaded: random weights, and small images.
"""

import sys

import timm
import torch
from timm.data import resolve_model_data_config
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch.nn.functional import cross_entropy, interpolate

from cannon_fx import apply_cannon
from cannon_fx.data import Batches, load_data

name, *options = sys.argv[1:] or ["test_resnet.r160_in1k"]
epochs, descent = 8, 5

torch.manual_seed(0)
digits = load_data("digits")
train = Batches(digits.train, digits, 64, shuffle=True, augment=True, seed=0)
test = Batches(digits.test, digits, 100, shuffle=False, augment=False, seed=0)
model = timm.create_model(name, pretrained="--random" not in options, num_classes=digits.classes)
size = 32 if "--random" in options else resolve_model_data_config(model)["input_size"][-1]


def enlarged(images: torch.Tensor) -> torch.Tensor:
    """Three channels, and the size that the model knows."""
    return interpolate(images.expand(-1, 3, -1, -1), size=(size, size), mode="bilinear")


# The classifier is new: let it be, and cut among what was learnt before.
result = apply_cannon(model, torch.zeros(1, 3, size, size), group_size=8, ignore=[model.default_cfg["classifier"]])
dense = result.cost()
optimizer = create_optimizer_v2(model, opt="adamw", lr=2e-3, weight_decay=0.01)
# The learning rate stays high while the masks change, and falls after.
schedule = CosineLRScheduler(optimizer, t_initial=epochs - descent)
result.set_budget("energy/1.5", steps=descent * len(train))
for epoch in range(epochs):
    model.train()
    train.set_epoch(epoch)
    schedule.step(max(0, epoch - descent))
    for images, labels in train:
        loss = cross_entropy(model(enlarged(images)), labels) + result.regularizer()
        loss.backward()
        optimizer.step()
        result.step_(optimizer)
        optimizer.zero_grad()

model.eval()
with torch.no_grad():
    right = sum(int((model(enlarged(images)).argmax(1) == labels).sum()) for images, labels in test)
less = dense.energy_pj / result.cost().energy_pj
print(f"accuracy {right / len(digits.test):.1%}, {less:.2f}x less communication energy")
