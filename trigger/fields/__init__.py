"""Kinds of input fields: what each reads, what may be declared of it, and how it is described."""
