"""What `fvq doctor` looks at: packages, machine, weights."""
