"""Commands: extracting codes, sampling images."""
