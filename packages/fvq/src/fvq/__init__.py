"""FVQ's application: what people use who do not read source, on top of the four packages."""
