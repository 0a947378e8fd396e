"""What cannon is compared with, under the same control: the same steps, and a budget met by the same count."""
