"""Into the training loop: batches in an order that is arithmetic, made by threads, ahead of time."""
