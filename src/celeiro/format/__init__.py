"""What the bytes mean: names and versions, pictures, codecs, the JPEG filter."""
