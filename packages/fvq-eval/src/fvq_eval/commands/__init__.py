"""Commands: scoring, benchmarks, analyses, reports."""
