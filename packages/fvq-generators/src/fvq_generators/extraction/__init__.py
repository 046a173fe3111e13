"""The codes of a whole data set, made by many processes into one store."""
