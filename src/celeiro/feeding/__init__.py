"""Into the training loop: an order that is arithmetic, batches that threads make ahead of time."""
