"""Figures and reports of a finished or running run, made from the files in its workdir."""
