"""Minibatches whose content depends on nothing but the split, the batch size, the seed and the epoch."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

from cannon_fx.data.images import ImageData, Split
from cannon_fx.errors import DataError


class Batches:
    """Iterates over (images, labels): float32 [b, C, H, W] and int64 [b], on the CPU.

    Images are normalised with the mean and std of `data`; the last batch may be smaller. `augment` shifts
    each image up and down and sideways over a black border, by up to 1 pixel (4 if it is larger than 16
    pixels), and mirrors half of the 3-channel images. `set_epoch(e)` before iterating gives the order and
    augmentation of epoch e, also in a run that was resumed. No image's shift depends on the batch size.
    """

    def __init__(
        self, split: Split, data: ImageData, batch_size: int, *, shuffle: bool, augment: bool, seed: int
    ) -> None:
        """Raises DataError if `batch_size` is below 1 or `split` has other channels than `data`."""
        channels = split.images.shape[1]
        if batch_size < 1:
            raise DataError(f"{data.name}: batch_size is {batch_size}. Choose 1 or more.")
        if channels != len(data.mean):
            raise DataError(
                f"{data.name}: the split has {channels} channels, the data set {len(data.mean)}. "
                "Pass the train or test split of this data set."
            )
        self.split, self.batch_size, self.seed, self.epoch = split, batch_size, seed, 0
        self.shuffle, self.augment = shuffle, augment
        # (x / range - mean) / std as one multiply-add. In 64 bits first: rounded once, not three times.
        std = torch.tensor(data.std, dtype=torch.float64, device="cpu").view(-1, 1, 1)
        mean = torch.tensor(data.mean, dtype=torch.float64, device="cpu").view(-1, 1, 1)
        scale = 255.0 if split.images.dtype == torch.uint8 else 1.0
        self._factor, self._offset = (1 / (scale * std)).float(), (-mean / std).float()

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return -(-len(self.split) // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches the next iteration gives; 0 at first."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        count, channels, height, width = self.split.images.shape
        # A hash, because seed + epoch would make epoch 1 of seed 0 the same as epoch 0 of seed 1.
        digest = hashlib.blake2b(f"{self.seed}, {self.epoch}".encode(), digest_size=8).digest()
        generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest, "little"))
        # Everything is drawn even if unused: the order is then the same with and without augmentation.
        order = torch.randperm(count, generator=generator, device="cpu")
        border = 1 if max(height, width) <= 16 else 4
        shift = torch.randint(0, 2 * border + 1, (count, 2), generator=generator, device="cpu")
        mirror = torch.rand(count, generator=generator, device="cpu") < 0.5
        mirror &= channels == 3  # grey images are mostly digits or letters, and a mirrored one is another
        if not self.shuffle:
            order = torch.arange(count, device="cpu")
        for start in range(0, count, self.batch_size):
            chosen = order[start : start + self.batch_size]
            images = self.split.images[chosen]
            if self.augment:
                images = _shift_and_mirror(images, border, shift[chosen], mirror[chosen])
            yield torch.addcmul(self._offset, images.float(), self._factor), self.split.labels[chosen]


def _shift_and_mirror(images: Tensor, border: int, shift: Tensor, mirror: Tensor) -> Tensor:
    """Cut [H, W] out of every image [b, C, H, W] plus `border` zeros around it, starting at `shift` [b, 2].

    Shift (border, border) is the image as it was. Where `mirror` [b] is set, left and right change places.
    """
    batch, _, height, width = images.shape
    cuts = pad(images, (border,) * 4).unfold(2, height, 1).unfold(3, width, 1)  # every shift, without copying
    images = cuts[torch.arange(batch, device="cpu"), :, shift[:, 0], shift[:, 1]]
    return torch.where(mirror.view(-1, 1, 1, 1), images.flip(3), images)
