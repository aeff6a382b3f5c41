"""``Probe``, one look at one batch, with what it can be asked: objectives, edges, attacks, attributions."""
