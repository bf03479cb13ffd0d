"""
Answers questions about a run from its records; every sentence cites what it rests on.

`facts` is what a library is asked for, `cited` the form of an answer. `explanation`, `commentary`
and `conversation` say them by rules; `phrasing` lets a language model say the same and checks its
words against the record.
"""
