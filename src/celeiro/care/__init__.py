"""Looking after files: are they sound, what can be saved, what would make them faster."""
