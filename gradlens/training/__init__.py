"""Training against what was measured: the configuration, one loop, its methods, checkpoints and sweeps.

Nothing is imported here, so that the command line knows its flags without torch.
"""
