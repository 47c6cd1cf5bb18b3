"""Compiled code: everything below this line takes arrays or pointers, and checks nothing."""
