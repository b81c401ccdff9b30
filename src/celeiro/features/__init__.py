"""What a trained network says of each sample: made, learned from, and searched."""
