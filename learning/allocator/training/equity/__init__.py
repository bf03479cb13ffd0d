"""The equity book's own phases: macro and micro policies, and the sector graph."""
