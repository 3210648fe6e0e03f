"""The answers of the verbs as JSON: one document on standard output, its schema, its errors.

Runs in the process of the command. Imports no torch; `json_schema` alone imports pydantic, and
nothing imports it at run time.
"""
