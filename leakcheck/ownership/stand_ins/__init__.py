"""What tests put in the place of real things: nothing is taken from that. Read in this order.

``replacing`` (where a file replaces a name), ``fixtures`` (which functions run before a test), ``replaced`` (whether a
name is a stand-in while a function runs).
"""
