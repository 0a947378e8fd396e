"""What cannon is compared with, under the same control: the same steps, and costs counted alike."""
