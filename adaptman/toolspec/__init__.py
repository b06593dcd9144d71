"""Tool documents: read any vendor's form, compare two of them, write and read calls.

Pure: values in, values out. `readers` reads, `diff` compares, `describe` puts a comparison in words,
`formats` writes and reads calls, `validate` checks a call against its tool.
"""
