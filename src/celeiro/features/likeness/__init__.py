"""What is like what: the search behind `celeiro similar`."""
