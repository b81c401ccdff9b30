"""The parts of a linear probe: which samples, how it learns, what came of it."""
