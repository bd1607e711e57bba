"""The commands, one file each: options in, calls of the library, lines out. Nothing else imports click.

`imagetool.cli` has the table of them all, and imports the one that is asked for.
"""
