"""The checkout that a run works in: git and DVC; knows no radiograph."""
