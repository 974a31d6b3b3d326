"""`interlock bench`: how fast the engine is on this machine, measured from outside by processes of its own.

Load, sink and engine are three processes that meet only at sockets, so that no figure includes the measurement.
"""
