"""Scripts that print the tables of the README; never part of the tests."""
