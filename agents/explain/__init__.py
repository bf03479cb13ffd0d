"""
Explain and talk: recorded facts in, cited words out.

`facts` is what is asked of a library, `cited` what comes back: sentences that name the records
they rest on. `explanation`, `commentary` and `chat` say them by rules; `phrasing` lets a language
model say the same and checks its words against the record.
"""
