"""Finds what is wrong with a set of labelled pictures, and moves it aside after a review.

`survey` reads every picture once; from its result `duplicates` finds copies, leaks between splits and conflicting
labels, `outliers` what is unlike the rest of its class, `labels` what seems to bear the wrong label. `findings` puts
all of it into one list, `review` writes that as CSV and HTML, `moves` moves files and puts them back.
`search` does all of it; `jaxcls clean` is the command.
"""
