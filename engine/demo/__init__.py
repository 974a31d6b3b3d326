"""`interlock demo`: a laboratory, two EHRs, and the engine between them, on one machine and on real sockets.

Everything in it is invented; the engine runs exactly as `interlock serve` runs it.
"""
