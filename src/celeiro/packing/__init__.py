"""Into the file: find the samples, plan the work, do it with threads, publish the result."""
