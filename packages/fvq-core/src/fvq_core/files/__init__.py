"""Reading and writing files: atomically, within bounds, and without running code in them."""
