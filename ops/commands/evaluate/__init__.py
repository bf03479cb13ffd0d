"""The commands `evaluate …` measure what was learned, on what it never saw."""
