"""A network of one's own, in a training loop of one's own, to half of its communication energy."""

import torch
from torch import nn

from cannon_fx import apply_cannon
from cannon_fx.data import Batches, load_data

torch.manual_seed(0)
digits = load_data("digits")
train = Batches(digits.train, digits, 64, shuffle=True, augment=True, seed=0)
network = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(),
    nn.Linear(32 * 16, 10),
)  # fmt: skip

result = apply_cannon(network, torch.zeros(1, 1, 8, 8), chip="demo-32nm", group_size=4)
dense = result.cost()
optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
result.set_budget("energy/2", steps=10 * len(train))
for epoch in range(20):
    train.set_epoch(epoch)
    for images, labels in train:
        loss = nn.functional.cross_entropy(network(images), labels) + result.regularizer()
        loss.backward()
        optimizer.step()
        result.step_(optimizer)
        optimizer.zero_grad()

network.eval()
test = Batches(digits.test, digits, 600, shuffle=False, augment=False, seed=0)
images, labels = next(iter(test))
accuracy = (network(images).argmax(1) == labels).float().mean().item()
print(f"accuracy {accuracy:.1%}, {dense.energy_pj / result.cost().energy_pj:.2f}x less communication energy")
