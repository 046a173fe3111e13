"""Speed and memory, each script printing the figures that the docs quote."""
