"""Taking in what clients report: jobs and runs that begin and end, and the spans in between.

Everything here is tolerant of who reports and strict about what a grade is.
"""
